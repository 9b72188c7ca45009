"""A real browser for the dashboard's tests: Debian's chromium, led by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.required import required
from tests.support.stack import DeployedStack, purge_queues

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage")
"""Its sandbox does not start for root, as which CI runs. It opens nothing but our own page."""
MISSING = "no browser: none of {} is on the PATH. Install one (Debian: `apt-get install chromium`)."

Opened = Callable[..., Page]
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)  # at rest, the page asks every 10 s, and for the counts every 30 s


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Skipped where there is none; with REQUIRE_BROWSER=1 that is a failure."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        why = MISSING.format(", ".join(NAMES))
        if required("BROWSER"):
            pytest.fail(why)
        pytest.skip(why)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield running
        running.close()


@pytest.fixture(scope="package", autouse=True)
def _empty_queues_afterwards(embedded_stack: DeployedStack) -> Iterator[None]:
    yield
    purge_queues(embedded_stack)


@pytest.fixture
def opened(browser: Browser, embedded_stack: DeployedStack) -> Iterator[Opened]:
    """The dashboard in a window of its own, with the key in its address unless `fragment` says otherwise.

    A test fails whose page raised an error, or was refused something by its own policy.
    """
    complaints: list[str] = []
    contexts = []

    def open_(fragment: str | None = None, width: int = 1280, height: int = 860) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.goto(address(embedded_stack, fragment))
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def address(stack: DeployedStack, fragment: str | None = None) -> str:
    """The page's address; by default with the key, as `make dashboard` gives it."""
    part = f"key={stack.outputs['api_key']}" if fragment is None else fragment
    return f"{stack.outputs['base_url']}/#{part}"
