"""Watching one task until it ends: its timeline redrawn on a terminal, line by line elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.live import Live

from client import screen as shown
from client.answer import Answer
from client.records import Task
from client.screen import Screen

DEFAULT_TIMEOUT = 300.0
POLL_SECONDS = (0.2, 2.0)
"""From the first look to the slowest."""


def followed(answer: Answer, task_id: str) -> tuple[Task, int]:
    """Wait for the end and tell it: the task, and the exit code."""
    timeout = DEFAULT_TIMEOUT if answer.args.timeout is None else answer.args.timeout
    task = _last(answer, task_id, timeout)
    answer.waiting = None
    if not task.ended:
        answer.screen.fail(
            f"{task_id} is {task.status} after {timeout:g} s (attempts: {task.attempts}); it goes on.",
            answer.again(f"wait {task_id}"),
        )
        return task, 5
    result = "" if task.result is None else f": {json.dumps(task.result, ensure_ascii=False)}"
    answer.screen.say(f"{task.status}{result or (f': {task.error}' if task.error else '')}", shown.STYLES[task.status])
    if task.status == "FAILED_FINAL":
        answer.screen.note(f"  next: {answer.again(f'redrive {task_id} --yes')}")
    return task, 0 if task.status == "COMPLETED" else 1


def _last(answer: Answer, task_id: str, timeout: float) -> Task:
    """The task as it ended, or as it stood when the time was over; every step shown as it comes."""
    deadline, pause = time.monotonic() + timeout, POLL_SECONDS[0]
    with _watch(answer.screen) as watch:
        while True:
            task = answer.waiting = answer.target.client.get(task_id)
            watch(task)
            left = deadline - time.monotonic()
            if task.ended or left <= 0:
                return task
            time.sleep(min(pause, left))
            pause = min(pause * 1.2, POLL_SECONDS[1])


@contextmanager
def _watch(screen: Screen) -> Iterator[Callable[[Task], None]]:
    if not screen.live:
        seen: list[Any] = []

        def tell(task: Task) -> None:
            for entry in task.timeline:
                if entry not in seen:
                    seen.append(entry)
                    screen.say(f"  {shown.line(entry)}")

        yield tell
        return
    with Live(console=screen.out, refresh_per_second=8) as live:
        last: list[Task] = []

        def draw(task: Task) -> None:
            last[:] = [task]
            live.update(shown.timeline(task) if task.ended else shown.moving(task), refresh=True)

        try:
            yield draw
        finally:
            if last:
                live.update(shown.timeline(last[0]))
