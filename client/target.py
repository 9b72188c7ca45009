"""Which API the `tasks` command speaks to, and what the machine offers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from client.tasks import TaskClient
from client.words import Usage

GIVE = "--url URL --key KEY, or TASKS_URL and TASKS_API_KEY"
GIVE_KEY = "--key KEY, or TASKS_API_KEY=KEY"


@dataclass(frozen=True)
class Host:
    """`running`: the outputs of the stack on this machine. `show`: opens the dashboard of a base URL with a key and an
    anchor; the address where there is no display."""

    running: Callable[[], Mapping[str, Any] | None] = lambda: None
    show: Callable[[str, str, str], str | None] = lambda base, key, anchor: f"{base}/#key={key}{anchor}"


@dataclass(frozen=True)
class Target:
    """`url` is None where nobody named it: the running stack, which the same command finds again."""

    client: TaskClient
    key: str
    url: str | None

    def page(self, task_id: str) -> str:
        return f"{self.client.base_url}/#task={task_id}"


def target(url: str | None, key: str | None, environ: Mapping[str, str], host: Host) -> Target:
    """
    Raises:
        Usage: no API is named and none runs here, or its key is not known.
    """
    named = url or environ.get("TASKS_URL") or None
    known = key or environ.get("TASKS_API_KEY") or None
    if named is not None and not _is_url(named):
        raise Usage(
            f"{named!r} is no URL.", "give the API URL, such as https://….execute-api.eu-west-1.amazonaws.com/dev"
        )
    outputs = None if named and known else host.running()
    if named is None:
        if outputs is None:
            raise Usage("No stack runs here, and no API was named.", f"`make up`, or {GIVE}")
        named = str(outputs["api_url"])
    # The running stack's key goes to the running stack alone.
    if known is None and outputs is not None and _base(named) == _base(str(outputs["api_url"])):
        known = str(outputs["api_key"])
    if known is None:
        raise Usage(f"There is no key for {named}.", GIVE_KEY)
    if not known.isascii() or not known.isprintable() or " " in known:
        raise Usage(
            "The key holds a character that no key has (it is not shown here).", "--key KEY, or TASKS_API_KEY=KEY"
        )
    return Target(TaskClient(named, known), known, url)


def _base(url: str) -> str:
    return TaskClient(url, "").base_url


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
