"""Submit what is due by the schedules of the kinds. EventBridge calls every minute, at least once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lambdas.common.http import HttpError
from lambdas.common.kinds import Registry
from lambdas.common.schedules import LOOK_BACK_MINUTES, firing_id
from lambdas.submit_task.submit import Accepted

Submit = Callable[[str], Accepted]
"""Takes the body of a POST /tasks; raises HttpError."""


class NotSubmitted(Exception):
    """Of these firings nobody knows whether they were stored. Lambda calls again, and so does the next minute."""


@dataclass(frozen=True)
class Ticks:
    """`submitted` is what this warm function has seen submitted, so that looking back costs no request."""

    registry: Registry
    submit: Submit
    submitted: set[str] = field(default_factory=set)

    def tick(self, minute: int) -> list[str]:
        """Submit what was due in the minutes up to this one; the ids of the tasks that this made.

        Raises:
            NotSubmitted: one or more of them failed; all the others were tried.
        """
        made, failed, seen = [], [], set()
        for task_id, body in self._due(minute):
            seen.add(task_id)
            if task_id in self.submitted:
                continue
            try:
                if self.submit(body).outcome == "new":
                    made.append(task_id)
            except HttpError as error:
                if error.status >= 500:
                    failed.append(task_id)
                    continue
            self.submitted.add(task_id)  # also of a refused one: the next minute's try would be refused alike
        self.submitted.intersection_update(seen)
        if failed:
            raise NotSubmitted(", ".join(failed))
        return made

    def _due(self, minute: int) -> Iterator[tuple[str, str]]:
        for kind in self.registry.scheduled():
            assert kind.schedule is not None
            for fires in kind.schedule.due(minute - LOOK_BACK_MINUTES, minute):
                task_id = firing_id(kind.name, fires)
                payload = kind.schedule.payload_at(fires)
                yield task_id, json.dumps({"taskId": task_id, "kind": kind.name, "payload": payload})
