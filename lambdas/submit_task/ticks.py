"""Submit what is due by the schedules of the kinds. EventBridge calls every minute, at least once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lambdas.common.http import HttpError
from lambdas.common.kinds import Kind, Registry
from lambdas.common.schedules import LOOK_BACK_MINUTES, firing_id
from lambdas.submit_task.submit import Accepted

Submit = Callable[[str], Accepted]
"""Takes the body of a POST /tasks; raises HttpError."""


class NotSubmitted(Exception):
    """Of these firings nobody knows whether they were stored. Lambda calls again, and so does the next minute."""


@dataclass(frozen=True)
class Ticks:
    """Each firing stands for itself: one that cannot be made or is refused keeps no other from being submitted."""

    registry: Registry
    submit: Submit
    refused: Callable[[str, HttpError], None]
    """Told of a firing that the API refuses for good, by its task id."""
    broke: Callable[[str], None]
    """Told, within the exception, of a firing whose payload could not be made, or that met a fault."""
    submitted: set[str] = field(default_factory=set)
    """What this warm function has seen submitted, so that looking back costs no request."""

    def tick(self, minute: int) -> list[str]:
        """Submit what was due in the minutes up to this one; the ids of the tasks that this made.

        Raises:
            NotSubmitted: one or more of them failed; all the others were tried.
        """
        made, failed, seen = [], [], set()
        for kind, fires in self._due(minute):
            task_id = firing_id(kind.name, fires)
            seen.add(task_id)
            if task_id in self.submitted:
                continue
            try:
                if self._fire(kind, fires, task_id):
                    made.append(task_id)
            except NotSubmitted:
                failed.append(task_id)
                continue
            self.submitted.add(task_id)  # also of a refused one: the next minute's try would be refused alike
        self.submitted.intersection_update(seen)
        if failed:
            raise NotSubmitted(", ".join(failed))
        return made

    def _due(self, minute: int) -> Iterator[tuple[Kind, int]]:
        for kind in self.registry.scheduled():
            assert kind.schedule is not None
            for fires in kind.schedule.due(minute - LOOK_BACK_MINUTES, minute):
                yield kind, fires

    def _fire(self, kind: Kind, fires: int, task_id: str) -> bool:
        """Whether this made a task."""
        assert kind.schedule is not None
        try:
            payload = kind.schedule.payload_at(fires)
            body = json.dumps({"taskId": task_id, "kind": kind.name, "payload": payload})
            return self.submit(body).outcome == "new"
        except HttpError as error:
            if error.status >= 500:
                raise NotSubmitted(task_id) from error
            self.refused(task_id, error)
            return False
        except Exception as error:  # the payload is made by a kind's own code
            self.broke(task_id)
            raise NotSubmitted(task_id) from error
