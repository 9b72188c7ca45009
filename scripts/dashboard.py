"""Open the dashboard of the running stack, or with `--target aws` of the account's, with its key.

The key stands behind the # of the address, which no browser sends anywhere; the page takes it out at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from collections.abc import Mapping, Sequence

from bootstrap import console
from bootstrap.errors import BootstrapError
from bootstrap.targets import TARGETS
from scripts.running import outputs_of_account, running_outputs


def address(outputs: Mapping[str, str]) -> str:
    return f"{outputs['base_url']}/#key={outputs['api_key']}"


def has_display(environ: Mapping[str, str], platform: str) -> bool:
    """Without one, `webbrowser` would start a browser for the terminal, which runs no scripts."""
    return platform in ("darwin", "win32") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def outputs_of(target: str | None) -> Mapping[str, str]:
    """
    Raises:
        BootstrapError: there is no such stack.
    """
    outputs = outputs_of_account() if target == "aws" else running_outputs()
    if outputs is None:
        raise BootstrapError("No stack runs here.", "make up")
    return outputs


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.dashboard", description=__doc__)
    parser.add_argument("--target", choices=sorted(TARGETS), help="aws: the account, not the local stack")
    target: str | None = parser.parse_args(arguments).target
    try:
        outputs = outputs_of(target)
    except BootstrapError as error:
        console.fail(error.message, error.hint)
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
