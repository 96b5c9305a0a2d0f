"""Debian's Chromium, driven by Playwright, for tests of the page."""

import os
import shutil
from contextlib import contextmanager

import pytest

REQUIRED = "NANOCNN_BROWSER"  # set to "required", tests fail instead of being skipped


def _missing(what):
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(f"{what}, and ${REQUIRED} is 'required'")
    pytest.skip(what)


@contextmanager
def chromium():
    """A browser; skips the test, with the reason, where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed: extra [test-browser]")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        _missing("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser, url, refusals=False, **options):
    """A page of the browser at `url`; errors of its scripts fail the test.

    refusals  whether the server may refuse what the page asks for (the browser logs an error)
    """
    context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **options})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and errors.append(line.text))
    page.goto(url)
    page.wait_for_selector("html[data-ready='1']")
    try:
        yield page
        assert not [each for each in errors if not (refusals and "status of 400" in each)], errors
    finally:
        context.close()
