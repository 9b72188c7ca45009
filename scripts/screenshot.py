"""Take a picture of the running stack's dashboard: python -m scripts.screenshot FILE.

`make demo PNG=docs/dashboard.png` takes README's, of second 8 of the demo. It needs chromium on the PATH (Debian:
`apt-get install chromium`), and looks better with the font Inter (Debian: `fonts-inter`).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from bootstrap import console
from bootstrap.errors import BootstrapError
from scripts.dashboard import address
from scripts.running import running_outputs

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage")
"""Its sandbox does not start for root. It opens nothing but our own page."""
SECOND = 8
EARLIER_SECONDS = 2.5
"""The page asks so long before: what it shows is hardly older than the picture, and it has the time to draw it."""
LATE_SECONDS = 0.5
PATIENCE_MS = 30_000
READY = "ready"


@contextmanager
def of_second(second: float, file: str | None) -> Iterator[Callable[[], None]]:
    """What it yields starts the clock, when it is first called; so many seconds later the picture is in `file`. Without
    a file, nothing happens.

    A process of its own: the browser must not slow down those who submit, and Playwright is installed for tests alone.

    Raises:
        BootstrapError: it could not be taken.
    """
    if not file:
        yield lambda: None
        return
    command = [sys.executable, "-m", "scripts.screenshot", file, "--after", f"{second:g}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as taking:
        assert taking.stdin is not None
        assert taking.stdout is not None
        if taking.stdout.readline().strip() == READY:
            yield once(partial(print, "now", file=taking.stdin, flush=True))
        taking.stdin.close()
    if taking.returncode:
        raise BootstrapError(f"There is no picture in {file}.", "See above.")


def once(act: Callable[[], None]) -> Callable[[], None]:
    """`act`, for the first of all threads that call it."""
    first = threading.Lock()
    return lambda: act() if first.acquire(blocking=False) else None


def take(args: argparse.Namespace, outputs: Mapping[str, str], started: Callable[[], float]) -> None:
    """`started` is asked once the browser is there; the picture is of `args.after` seconds behind what it says.

    Raises:
        BootstrapError: there is no browser.
    """
    from playwright.sync_api import sync_playwright  # of the tests' environment, which a demo without picture has not

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise BootstrapError("No chromium is on the PATH.", "apt-get install chromium")
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser, args=OPTIONS)
        page = window.new_page(
            viewport={"width": args.width, "height": args.height}, color_scheme="dark" if args.dark else "light"
        )
        page.set_default_timeout(PATIENCE_MS)
        page.goto(address(outputs) + args.anchor)
        _wait_for_numbers(page)
        at = started() + args.after
        _sleep_until(at - EARLIER_SECONDS)
        page.reload()
        _wait_for_numbers(page)
        _sleep_until(at)
        late = time.monotonic() - at
        page.screenshot(path=args.file)
        window.close()
    if late > LATE_SECONDS:
        console.say(f"This machine was busy: the picture came {late:.1f} s late.", "yellow")


def _wait_for_numbers(page: Page) -> None:
    page.locator("#pulse[data-state=live]").wait_for()
    page.locator(".frame[aria-busy=false]").first.wait_for()


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.monotonic()))


def told() -> float:
    """When somebody said so on standard input."""
    print(READY, flush=True)
    sys.stdin.readline()
    return time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.screenshot", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file")
    parser.add_argument("--after", type=float, metavar="SECONDS", help="so long after a line on standard input")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1100)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--anchor", default="", help="what to show, such as '&dead=' or '&task=ID'")
    args = parser.parse_args(arguments)
    started = time.monotonic if args.after is None else told
    args.after = args.after or EARLIER_SECONDS
    try:
        outputs = running_outputs()
        if outputs is None:
            raise BootstrapError("No stack runs here.", "make up")
        take(args, outputs, started)
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
