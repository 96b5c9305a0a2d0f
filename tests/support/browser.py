"""A browser for the tests of pages: Chromium, led by Playwright, or a skip that says why not.

With NANOCNN_REQUIRE_BROWSER=1, as in .ci/run, a test without a browser fails instead.
"""

import os
import shutil
from contextlib import contextmanager

import pytest

NAMES = "chromium", "chromium-browser", "google-chrome"


def find():
    """The path of the browser, or None."""
    given = os.environ.get("NANOCNN_CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


def _missing(reason):
    if os.environ.get("NANOCNN_REQUIRE_BROWSER") == "1":
        pytest.fail(f"NANOCNN_REQUIRE_BROWSER=1, but {reason}")
    pytest.skip(reason)


@contextmanager
def launched(**options):
    """A browser, closed at the end; skips the test where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed: extra [test-browser]")
    path = find()
    if path is None:
        _missing(f"there is no browser: none of {', '.join(NAMES)}, and no NANOCNN_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], **options)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A tab that collects what the page complains of; `page` is Playwright's."""

    def __init__(self, browser, width=1400, height=1000, **options):
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, reduced_motion="reduce", **options
        )
        self.page, self.complaints, self.asked = self.context.new_page(), [], []
        self.page.set_default_timeout(30_000)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _heard(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def open(self, url):
        """Load an address and wait until all in view is there."""
        self.page.goto(url)
        self.settle()
        return self.page

    def settle(self):
        """Wait until no answer is missing and the page was painted."""
        self.page.wait_for_selector("html[data-ready='1']", state="attached")
        self.page.wait_for_function(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => "
            "done(document.documentElement.dataset.ready === '1'))))"
        )

    def close(self):
        self.context.close()
