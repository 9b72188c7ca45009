"""The `tasks` command of this checkout: client/cli.py, with the stack and the browser of this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bootstrap.errors import BootstrapError
from client.cli import main
from client.target import Host
from client.words import Usage
from scripts.dashboard import address, has_display
from scripts.running import outputs_of_account, running_outputs


def show(base_url: str, key: str, anchor: str) -> str | None:
    """Open the dashboard; its address where that is not possible."""
    url = address({"base_url": base_url, "api_key": key}) + anchor
    return None if has_display(os.environ, sys.platform) and webbrowser.open(url) else url


def account() -> Mapping[str, Any]:
    """
    Raises:
        Usage: nothing is deployed there, or AWS refuses.
    """
    try:
        return outputs_of_account()
    except BootstrapError as error:
        raise Usage(error.message, error.hint) from error


def typed(called: str | None) -> str:
    """What to type for this command: `tasks` where the PATH leads to the file that was `called`, else what was."""
    found = shutil.which("tasks")
    if not called or (found and Path(found).samefile(called)):
        return "tasks"
    return shlex.quote(called)


if __name__ == "__main__":
    sys.exit(main(host=Host(running_outputs, show, account, typed(os.environ.get("TASKS_TYPED")))))
