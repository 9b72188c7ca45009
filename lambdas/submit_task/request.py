"""What a client may post, and what is wrong with it when it may not. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from lambdas.common.http import HttpError
from lambdas.common.kinds import JsonObject, Registry

MAX_PAYLOAD_BYTES = 256 * 1024
"""Well under DynamoDB's 400 KB per item, the smallest limit that a payload meets on its way."""
MAX_BODY_BYTES = MAX_PAYLOAD_BYTES + 1024
"""Room for the other fields around the largest payload."""
MAX_BATCH_TASKS = 100
MAX_BATCH_BYTES = 2 * 1024 * 1024
"""Lambda takes 6 MB with the body inside, in which each quotation mark and line break counts twice, or more."""
MAX_DEPTH = 32
MAX_DELAY_SECONDS = 365 * 86_400
TASK_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
RESERVED = ("batch", ".", "..")
"""As a task's id these would make the path of another thing: /tasks/batch, /tasks/ and /."""
DEFAULT_KIND = "simulated"
FIELDS = ("taskId", "kind", "payload", "runAt", "delaySeconds")


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid request. `payload` is JSON text exactly as it was sent."""

    task_id: str | None
    kind: str
    payload: str
    run_at: int | None
    """Milliseconds since the epoch; None runs at once."""
    body_hash: str
    """Of the body's meaning (without spacing, order of names and the id): tells a repeated submit from another."""


def parse(body: str, registry: Registry, now: int) -> Submission:
    """Check a request body.

    Raises:
        HttpError: 400 or 413, naming the field and what is allowed.
    """
    document, raw = _read_object(body)
    for name in document:
        if name not in FIELDS:
            _bad(f"Unknown field {name[:100]!r}. Allowed: {', '.join(FIELDS)}.")
    kind = _kind(document, registry)
    if _utf8_length(raw.get("payload", "")) > MAX_PAYLOAD_BYTES:
        raise HttpError(413, "body_too_large", f"payload may have at most {MAX_PAYLOAD_BYTES} bytes.")
    _check_payload(document, kind, registry)
    return Submission(_task_id(document), kind, raw["payload"], _run_at(document, now), _hash(document, kind))


@dataclass(frozen=True, slots=True)
class Posted:
    """A task of a batch, to be read by `parse`."""

    text: str
    task_id: str | None
    """That it goes by, whatever else is wrong with it."""


def parse_batch(body: str) -> list[Posted]:
    """The tasks of a batch. What is wrong with one is not looked for here.

    Raises:
        HttpError: 400 or 413, the batch as a whole is wrong.
    """
    if _utf8_length(body) > MAX_BATCH_BYTES:
        raise HttpError(413, "body_too_large", f"The body of a batch may have at most {MAX_BATCH_BYTES} bytes.")
    try:
        document = _LENIENT.decode(body)
    except RecursionError:
        _bad(f"The body is nested more than {MAX_DEPTH} levels deep.")
    except ValueError as error:
        _bad(f"The body is not JSON: {error}.")
    tasks = document.get("tasks") if isinstance(document, dict) and set(document) == {"tasks"} else None
    if not isinstance(tasks, list) or not 1 <= len(tasks) <= MAX_BATCH_TASKS:
        _bad(f'The body must be {{"tasks": [...]}}, with 1 to {MAX_BATCH_TASKS} tasks and nothing else.')
    texts = _raw_elements(_raw_members(body, _LENIENT)["tasks"])
    return [Posted(text, _usable_id(task)) for text, task in zip(texts, tasks, strict=True)]


def task_id_in(text: str) -> str | None:
    """The id that a task of a batch goes by, whatever else is wrong with it."""
    return _usable_id(_LENIENT.decode(text))


def _usable_id(document: Any) -> str | None:
    task_id = document.get("taskId") if isinstance(document, dict) else None
    return task_id if isinstance(task_id, str) and TASK_ID.fullmatch(task_id) else None


def _read_object(body: str) -> tuple[JsonObject, dict[str, str]]:
    """The members of the object, read, and as raw text."""
    if _utf8_length(body) > MAX_BODY_BYTES:
        raise HttpError(413, "body_too_large", f"The body may have at most {MAX_BODY_BYTES} bytes.")
    if not body.strip():
        _bad("The body is empty. Send a JSON object with a payload.")
    try:
        document = json.loads(body, parse_constant=_not_a_number, parse_float=_decimal)
    except RecursionError:
        _bad(f"The body is nested more than {MAX_DEPTH} levels deep.")
    except ValueError as error:
        _bad(f"The body is not JSON: {error}.")
    if not isinstance(document, dict):
        _bad("The body must be a JSON object.")
    # So few brackets cannot nest deeper.
    if body.count("{") + body.count("[") > MAX_DEPTH and _depth(document) > MAX_DEPTH:
        _bad(f"The body is nested more than {MAX_DEPTH} levels deep.")
    if not _is_unicode(body, document):
        _bad("The body holds half of a surrogate pair, which is no Unicode character.")
    return document, _raw_members(body, json.JSONDecoder())


def _utf8_length(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _not_a_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("inf")
    if math.isinf(float(number)):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


def _depth(document: Any) -> int:
    """Nesting of arrays and objects, without recursion."""
    depth, level = 0, [document]
    while level:
        containers = [value for value in level if isinstance(value, dict | list)]
        depth += bool(containers)
        level = [v for c in containers for v in (c.values() if isinstance(c, dict) else c)]
    return depth


def _is_unicode(body: str, document: JsonObject) -> bool:
    """Half a character comes as it is, which shows in the whole body, or by an escape."""
    if "\\u" not in body and _can_be_encoded(body):
        return True
    return _can_be_encoded(json.dumps(document, ensure_ascii=False, default=str))


def _can_be_encoded(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_LENIENT = json.JSONDecoder(parse_constant=float, parse_float=float, parse_int=float)
"""Reads every number, also those that are none or too long: it only looks for where things are."""


def _raw_elements(text: str) -> list[str]:
    """Text of each element of an array known to be valid JSON."""
    elements: list[str] = []
    at = _skip_space(text, 1)
    while text[at] != "]":
        _, end = _LENIENT.raw_decode(text, at)
        elements.append(text[at:end])
        at = _skip_space(text, end)
        if text[at] == ",":
            at = _skip_space(text, at + 1)
    return elements


def _raw_members(body: str, decoder: json.JSONDecoder) -> dict[str, str]:
    """Text of each member of an object known to be valid JSON. Of a doubled name the last counts, as in json."""
    members: dict[str, str] = {}
    at = _skip_space(body, body.index("{") + 1)
    while body[at] != "}":
        name, at = decoder.raw_decode(body, at)
        start = _skip_space(body, body.index(":", at) + 1)
        _, end = decoder.raw_decode(body, start)
        members[name] = body[start:end]
        at = _skip_space(body, end)
        if body[at] == ",":
            at = _skip_space(body, at + 1)
    return members


def _skip_space(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _task_id(document: JsonObject) -> str | None:
    task_id = document.get("taskId")
    if task_id is None and "taskId" not in document:
        return None
    if not isinstance(task_id, str) or not TASK_ID.fullmatch(task_id):
        _bad("taskId must be 1 to 128 of the characters A-Z a-z 0-9 . _ : -")
    if task_id in RESERVED:
        _bad(f"taskId cannot be {task_id!r}: /tasks/{task_id} is the path of something else.")
    return task_id


def _kind(document: JsonObject, registry: Registry) -> str:
    kind = document.get("kind", DEFAULT_KIND)
    if not isinstance(kind, str) or registry.get(kind) is None:
        _bad(f"kind must be one of: {', '.join(registry.names())}.")
    return kind


def _check_payload(document: JsonObject, kind: str, registry: Registry) -> None:
    payload = document.get("payload")
    if not isinstance(payload, dict):
        _bad("payload is required and must be a JSON object.")
    declared = registry.get(kind)
    if declared and (problem := declared.payload_error(payload)):
        _bad(f"{problem[:300]} (kind {kind}).")


def _run_at(document: JsonObject, now: int) -> int | None:
    if "runAt" in document and "delaySeconds" in document:
        _bad("Give runAt or delaySeconds, not both.")
    if "delaySeconds" in document:
        delay = document["delaySeconds"]
        if not _is_number(delay) or not 0 <= delay <= MAX_DELAY_SECONDS:
            _bad(f"delaySeconds must be a number from 0 to {MAX_DELAY_SECONDS}.")
        due: int = now + math.ceil(delay * 1000)
        return due
    return _instant(document["runAt"], now) if "runAt" in document else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _instant(text: object, now: int) -> int:
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        _bad("runAt must be a time with offset, such as 2026-11-24T12:00:00Z.")
    try:
        at_ms: int = (at - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) // timedelta(milliseconds=1)
    except OverflowError:
        at_ms = -1
    if not 0 <= at_ms <= now + MAX_DELAY_SECONDS * 1000:
        _bad("runAt must lie after 1970 and at most 365 days ahead.")
    return at_ms


def _hash(document: JsonObject, kind: str) -> str:
    meaning = {name: document[name] for name in ("payload", "runAt", "delaySeconds") if name in document}
    # Half a surrogate pair marks a number with a fraction: no text that came this far holds one.
    text = json.dumps({**meaning, "kind": kind}, sort_keys=True, default=lambda number: f"\ud800{number}")
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _bad(message: str) -> NoReturn:
    raise HttpError(400, "invalid_request", message)
