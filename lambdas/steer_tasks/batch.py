"""POST /dead-letters/redrive: each task as by a replay of its own, side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from lambdas.common.chains import in_chains
from lambdas.common.http import HttpError
from lambdas.common.task import TASK_ID

MAX_TASKS = 100
MAX_GENERATION = 10**9
NEEDED_TO_BEGIN_MS = 12_000
"""A replay is not begun with less time than this left: two reads and two writes, of which one may need three tries."""
NO_TIME = HttpError(503, "busy", "There was no time left for this task. Nothing was done; send it again.")
WRONG = 'Each task must be {"taskId": <text>, "generation": <whole number from 1, or left out>}.'

Replay = Callable[[str, int | None], tuple[int, dict[str, Any]]]
"""Task id and generation to the status and the document with which a replay of this one alone is answered."""


@dataclass(frozen=True, slots=True)
class Wish:
    number: int
    task_id: str | None
    """None: nobody can tell."""
    generation: int | None
    problem: str | None = None


def wishes(body: str) -> list[Wish]:
    """What the body asks for, the wrong ones among them with their problem.

    Raises:
        HttpError: 400, the batch as a whole is wrong.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    tasks = document.get("tasks") if isinstance(document, dict) and set(document) == {"tasks"} else None
    if not isinstance(tasks, list) or not 1 <= len(tasks) <= MAX_TASKS:
        _bad(f'The body must be {{"tasks": [...]}}, with 1 to {MAX_TASKS} tasks and nothing else.')
    return [_wish(number, task) for number, task in enumerate(tasks)]


def is_generation(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_GENERATION


def replay_all(asked: Sequence[Wish], replay: Replay, left_ms: Callable[[], int]) -> list[dict[str, Any]]:
    """A result for each, in their order. What asks for the same task is done in turn."""
    return in_chains(asked, _link, partial(_result, replay, left_ms))


def _wish(number: int, task: object) -> Wish:
    found = task if isinstance(task, dict) else {}
    task_id, generation = found.get("taskId"), found.get("generation")
    known = task_id if isinstance(task_id, str) and TASK_ID.fullmatch(task_id) else None
    fits = "generation" not in found or is_generation(generation)
    if known is None or not fits or set(found) - {"taskId", "generation"}:
        return Wish(number, known, None, WRONG)
    return Wish(number, known, generation)


def _link(wish: Wish) -> str | int:
    return wish.number if wish.task_id is None else wish.task_id


def _result(replay: Replay, left_ms: Callable[[], int], wish: Wish) -> dict[str, Any]:
    if wish.task_id is None or wish.problem is not None:
        return _refusal(wish, HttpError(400, "invalid_request", wish.problem or WRONG))
    if left_ms() < NEEDED_TO_BEGIN_MS:
        return _refusal(wish, NO_TIME)
    status, document = replay(wish.task_id, wish.generation)
    told: dict[str, Any] = {name: document[name] for name in ("message", "error") if name in document}
    return {"taskId": wish.task_id, "status": status, **told}


def _refusal(wish: Wish, error: HttpError) -> dict[str, Any]:
    return {"taskId": wish.task_id, "status": error.status, "error": {"code": error.code, "message": error.message}}


def _bad(message: str) -> NoReturn:
    raise HttpError(400, "invalid_request", message)
