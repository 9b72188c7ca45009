"""What people type behind the `tasks` command, read: ids, times, payloads."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)")
TASK_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
NO_PATH = (".", "..")
"""Ids that no address can hold: on the way they are taken for a folder."""


class Usage(Exception):
    """What was typed cannot be done; `hint` is what to type instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def task_id(text: str) -> str:
    if not TASK_ID.fullmatch(text) or text in NO_PATH:
        raise ArgumentTypeError(f"{text[:100]!r} is no task id; it has 1 to 128 of the characters A-Z a-z 0-9 . _ : -")
    return text


def seconds(text: str) -> float:
    span = SPAN.fullmatch(text)
    if span is None:
        raise ArgumentTypeError(f"{text[:40]!r} is no length of time; allowed: seconds, or such as 15m, 2h, 1d")
    return float(span[1]) * UNITS[span[2]]


def instant_of(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ArgumentTypeError(f"{text[:40]!r} is no instant with offset, such as 2027-01-15T08:00:00Z")
    return at


def moment(text: str) -> datetime:
    """So long ago, or an instant."""
    if not SPAN.fullmatch(text) or text.isdigit():
        return instant_of(text)
    try:
        return datetime.now(UTC) - timedelta(seconds=seconds(text))
    except OverflowError:
        raise ArgumentTypeError(f"{text[:40]!r} ago is before all time") from None


def limit(text: str) -> int | None:
    """None is all."""
    if text == "all":
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise ArgumentTypeError(f"{text[:40]!r} is no number from 1, nor `all`")
    return int(text)


def payload(text: str) -> Mapping[str, Any]:
    """A JSON object: the text itself, in the file behind @, or on standard input for -.

    Raises:
        Usage: there is none.
    """
    source, content = _content(text)
    try:
        found = json.loads(content, parse_constant=_no_number)
    except RecursionError:
        raise Usage(f"{source} is nested too deep.") from None
    except ValueError as error:
        raise Usage(f"{source} is not JSON: {error}.", EXAMPLE) from None
    if not isinstance(found, dict):
        raise Usage(f"{source} is not a JSON object.", EXAMPLE)
    return found


TASKS = "{tasks}"
"""In a hint: what a person types for this command."""
EXAMPLE = f"""{TASKS} submit '{{"hello": "world"}}', {TASKS} submit @file.json, or … | {TASKS} submit -"""


def _content(text: str) -> tuple[str, str | bytes]:
    if text == "-":
        return "Standard input", sys.stdin.buffer.read()
    if not text.startswith("@"):
        return "The payload", text
    try:
        return text[1:], Path(text[1:]).read_bytes()
    except (OSError, ValueError) as error:
        raise Usage(f"{text[1:]!r} cannot be read: {getattr(error, 'strerror', None) or error}.", EXAMPLE) from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
