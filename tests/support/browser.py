"""A browser for the tests of the page: Chromium, led by Playwright; skips where there is none.

$NANOCNN_CHROMIUM is the path of another one. With NANOCNN_REQUIRE_BROWSER=1, as in .ci/run, a test
without a browser fails instead of being skipped.
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


def _missing(what):
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{what}, and {REQUIRED}=1")
    pytest.skip(what)


@contextmanager
def chromium():
    """A browser; skips the test, with the reason, where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed: extra [test-browser]")
    path = os.environ.get("NANOCNN_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        _missing("there is no browser: apt-get install chromium, or set NANOCNN_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A tab of the browser: `page` is Playwright's.

    errors  what its scripts and its console complained of
    asked   the addresses that it asked for
    """

    def __init__(self, browser, **options):
        self.context = browser.new_context(
            **{"viewport": {"width": 1400, "height": 1000}, **options}
        )
        self.page, self.errors, self.asked = self.context.new_page(), [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _hear(self, line):
        if line.type == "error":
            self.errors.append(line.text)

    def open(self, url):
        """Load an address and wait until all in view is there."""
        self.page.goto(url)
        self.page.wait_for_selector("html[data-ready='1']", state="attached")
        return self.page


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
