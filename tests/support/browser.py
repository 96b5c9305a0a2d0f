"""A browser for the tests of pages: Chromium, led by Playwright, or a skip that says why not.

With NANOCNN_REQUIRE_BROWSER=1, as in .ci/run, a test without a browser fails instead.
"""

import os
import shutil
from contextlib import contextmanager
from time import monotonic
from urllib.parse import urlsplit

import pytest

NAMES = "chromium", "chromium-browser", "google-chrome"
REQUIRED = "NANOCNN_REQUIRE_BROWSER"
SECONDS = 30  # that the page may take, on a busy machine


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

@contextmanager
def opened(browser, url, refusals=False, expected=(), **options):
    """A page of the browser at `url`.

    Errors of its scripts, what its security policy stops, and a request to another host fail the
    test.

    refusals  whether the server may refuse what the page asks for (the browser logs an error)
    expected  parts of other errors that may be
    """
    tab = Tab(browser, **options)
    allowed = [*expected, *["status of 400"] * refusals]
    try:
        yield tab.open(url)
        errors = [each for each in tab.errors if not any(part in each for part in allowed)]
        assert not errors, errors
        hosts = {urlsplit(each).netloc for each in tab.asked}
        assert hosts <= {urlsplit(url).netloc, ""}, hosts  # "": data: and blob:
    finally:
        tab.context.close()


def until(page, expression, argument=None):
    """Wait until an expression of JavaScript is true; returns its value.

    Not `wait_for_function`, which evaluates text in the page, as the page's policy forbids.
    """
    end = monotonic() + SECONDS
    while not (found := page.evaluate(expression, argument)):
        assert monotonic() < end, f"never came true: {expression}"
        page.wait_for_timeout(20)
    return found


def has(page, place, text):
    """Wait until the text of the element at a CSS selector contains `text`."""
    until(
        page,
        """([place, text]) => document.querySelector(place)?.textContent.includes(text)""",
        [place, text],
    )


def settled(page):
    """Wait until all that was asked for is shown."""
    page.wait_for_timeout(20)
    page.wait_for_selector("html[data-ready='1']", state="attached")
