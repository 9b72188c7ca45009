"""Open the dashboard of the running stack, with its key.

The key stands behind the # of the address, which no browser sends anywhere; the page takes it out at once.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping

from bootstrap import console
from scripts.running import running_outputs


def address(outputs: Mapping[str, str]) -> str:
    return f"{outputs['base_url']}/#key={outputs['api_key']}"


def has_display(environ: Mapping[str, str], platform: str) -> bool:
    """Without one, `webbrowser` would start a browser for the terminal, which runs no scripts."""
    return platform in ("darwin", "win32") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def main() -> int:
    outputs = running_outputs()
    if outputs is None:
        console.fail("No stack runs here.", "make up")
        return 1
    url = address(outputs)
    if has_display(os.environ, sys.platform) and webbrowser.open(url):
        console.say("The dashboard is open in your browser.")
    else:
        console.say("Open this in a browser. It holds the API key:")
        print(url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
