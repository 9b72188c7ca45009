"""What goes wrong in a chaos run: a pure function of (seed, task, operation, nth call). Nothing else is left to chance.

Runs inside the deployed functions too, so it imports nothing but the standard library.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LANDS_LATE = "lands-late"
REQUEST: Mapping[str, float] = {
    "throttled": 3,
    "server-error": 3,
    "reset": 3,
    "lost-ack": 4,
    "hang": 0.6,
    LANDS_LATE: 2,
    "crash-before": 0.5,
    "crash-after": 0.5,
}
"""Fault -> weight, for one request of an SDK client; what each does: tests/support/fault_hook.py."""
LATE_SECONDS = (3.0, 8.0)
"""A request that lands late does so between these: after the client has given it up, and often after what came next."""

WORK: Mapping[str, float] = {
    "fails": 12,
    "fails-for-good": 2,
    "killed": 0.5,
    "killed-after-outside-effect": 0.5,
    "overdue": 0.4,
    "frozen": 0.3,
}
"""Of the work itself. `killed`: SIGKILL to the worker's own process. `overdue`: it goes on after its attempt was given
up, and ends as a stale worker. `frozen`: SIGSTOP, so that only the function's time-out ends it."""

MESSAGE: Mapping[str, float] = {"lost": 1, "receive-burnt": 2, "copied": 2}
"""Of a message that the run itself takes from the queue: deleted; kept until it comes back; sent once more."""
LATER_MESSAGE: Mapping[str, float] = {fault: weight for fault, weight in MESSAGE.items() if fault != "lost"}
"""Of a task's messages after the first: each loss makes the sweeper wait four times longer, and a run must end."""

SUBMIT: Mapping[str, float] = {"in-a-batch": 4, "twice-at-once": 2, "after-bad-ones": 1}
"""How a client submits: in a batch, with itself once more and with a bad one; by two requests at the same moment; after
bad requests, which must leave nothing."""
CLIENT: Mapping[str, float] = {"duplicate": 4, "stray-in-dlq": 2, "cancelled": 2, "other-body": 2, "garbage": 1}
"""What somebody else does to a task right after it was accepted: a second message for it, one in the dead-letter queue,
a cancel, another body under its id, a message in the queue that nobody can read."""

CHANCES: Mapping[str, tuple[Mapping[str, float], float]] = {
    "put": (REQUEST, 0.06),
    "send": (REQUEST, 0.06),
    "claim": (REQUEST, 0.06),
    "complete": (REQUEST, 0.06),
    "retry": (REQUEST, 0.10),
    "die": (REQUEST, 0.15),
    "bury": (REQUEST, 0.15),
    "hide": (REQUEST, 0.08),
    "record": (REQUEST, 0.20),
    "mark_recorded": (REQUEST, 0.20),
    "hand_back": (REQUEST, 0.20),
    "mark_sent": (REQUEST, 0.20),
    "cancel": (REQUEST, 0.15),
    "replay": (REQUEST, 0.15),
    "read": (REQUEST, 0.05),
    "work": (WORK, 0.16),
    "message": (MESSAGE, 1.0),
    "submit": (SUBMIT, 0.20),
    "client": (CLIENT, 0.11),
}
"""Operation -> its faults, and the chance that a task meets one there."""
EACH_CALL = ("work", "message", "submit")
"""Operations whose every call is drawn anew; elsewhere a task meets at most one fault, over one call or a few."""

CALLS = {"short": 1, "all-tries": 3}
"""How many calls in a row a fault lasts; the SDK tries three times."""
SKEWS_MS = (0, 0, 2_000, -2_000)
"""Clocks of the workers; the lease's margin is 5 s."""
REPLAYED_SHARE = 0.5
"""Of the tasks that die."""
REPEATED_SHARE = 0.5
"""Of the submits that got no clear answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    intensity: float = 1.0
    """Multiplies every chance; 0: nothing goes wrong."""

    def fault(self, task: int, operation: str, nth: int) -> str | None:
        """What happens to the `nth` call (from 1) of one operation about one task."""
        weights, chance = CHANCES[operation]
        if operation == "message" and nth > 1:
            weights = LATER_MESSAGE
        each = operation in EACH_CALL
        draw = self._draw(task, operation, nth if each else 0)
        if draw.random() >= chance * self.intensity:
            return None
        fault = draw.choices(list(weights), list(weights.values()))[0]
        if each:
            return fault
        first = draw.choice((1, 1, 1, 2))
        return fault if first <= nth < first + self._length(fault, draw) else None

    def replays(self, task: int) -> bool:
        """Whether the task is replayed once after it has died."""
        return self._draw(task, "replays", 0).random() < REPLAYED_SHARE

    def repeats(self, task: int) -> bool:
        """Whether a submit of unknown outcome is repeated."""
        return self._draw(task, "repeats", 0).random() < REPEATED_SHARE

    def late_seconds(self, task: int, operation: str, nth: int) -> float:
        """How long a request that lands late is under way."""
        return self._draw(task, f"{operation} late", nth).uniform(*LATE_SECONDS)

    def skew_ms(self, nth_worker: int) -> int:
        """How wrong the clock of the `nth_worker` (from 1) is."""
        return SKEWS_MS[nth_worker % len(SKEWS_MS)] if self.intensity else 0

    def planned(self, calls: Mapping[tuple[int, str], int]) -> Iterator[tuple[int, str, int, str]]:
        """Task, operation, number and fault of each call that was made (`calls`: how many, by task and operation)."""
        for (task, operation), count in calls.items():
            for nth in range(1, count + 1):
                fault = self.fault(task, operation, nth)
                if fault is not None:
                    yield task, operation, nth, fault

    def _draw(self, task: int, operation: str, nth: int) -> random.Random:
        return random.Random(f"{self.seed}/{task}/{operation}/{nth}")

    @staticmethod
    def _length(fault: str, draw: random.Random) -> int:
        if fault.startswith("crash"):
            return 1
        return CALLS[draw.choices(list(CALLS), (3, 1))[0]]
