"""Which API the `tasks` command speaks to, and what the machine offers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    anchor; the address where there is no display. `account`: the outputs of the stack in the AWS account, or Usage;
    None where the machine cannot look for it. `typed`: what a person types for this command."""

    running: Callable[[], Mapping[str, Any] | None] = lambda: None
    show: Callable[[str, str, str], str | None] = lambda base, key, anchor: f"{base}/#key={key}{anchor}"
    account: Callable[[], Mapping[str, Any]] | None = None
    typed: str = "tasks"


@dataclass(frozen=True)
class Target:
    """`given` are the options that named it, and that lead the next command there, too."""

    client: TaskClient
    key: str
    given: Sequence[str]

    def page(self, task_id: str) -> str:
        return f"{self.client.base_url}/#task={task_id}"


def target(
    url: str | None, key: str | None, environ: Mapping[str, str], host: Host, where: str | None = None
) -> Target:
    """`where` is "aws" for the stack in the account, whatever the environment says.

    Raises:
        Usage: no API is named and none runs here, or its key is not known.
    """
    if where is not None:
        return _in_account(url, key, host, where)
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
    return Target(TaskClient(named, _checked(known)), known, ("--url", url) if url else ())


def _in_account(url: str | None, key: str | None, host: Host, where: str) -> Target:
    if url is not None:
        raise Usage("--url and --target each name an API.", "one of them")
    if host.account is None:
        raise Usage("The AWS account can be looked into only from a checkout.", GIVE)
    outputs = host.account()
    known = key or str(outputs["api_key"])
    return Target(TaskClient(str(outputs["api_url"]), _checked(known)), known, ("--target", where))


def _checked(key: str) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Usage(
            "The key holds a character that no key has (it is not shown here).", "--key KEY, or TASKS_API_KEY=KEY"
        )
    return key


def _base(url: str) -> str:
    return TaskClient(url, "").base_url


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
