"""What the model runs: the deployed decisions and writes, each replaceable; and the bounds of one exploration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lambdas.common import decisions, transitions
from lambdas.common.transitions import Write
from lambdas.process_task import attempt

Decide = Callable[..., Any]
MakeWrite = Callable[..., Write]


@dataclass(frozen=True)
class Rules:
    """The deployed rules. A seeded bug is one of them replaced; nothing of them is written anew here."""

    after_refused_claim: Decide = decisions.after_refused_claim
    for_dead_message: Decide = decisions.for_dead_message
    resend_due_at: Decide = decisions.resend_due_at
    for_sweep: Decide = decisions.for_sweep
    may_resend_submitted: Decide = decisions.may_resend_submitted
    for_cancel: Decide = decisions.for_cancel
    for_replay: Decide = decisions.for_replay
    as_written: Decide = attempt._as_written
    stale: Decide = attempt._stale

    claim: MakeWrite = transitions.claim
    complete: MakeWrite = transitions.complete
    retry: MakeWrite = transitions.retry
    park: MakeWrite = transitions.park
    die: MakeWrite = transitions.die
    bury: MakeWrite = transitions.bury
    mark_recorded: MakeWrite = transitions.mark_recorded
    hand_back: MakeWrite = transitions.hand_back
    mark_sent: MakeWrite = transitions.mark_sent
    cancel: MakeWrite = transitions.cancel
    replay: MakeWrite = transitions.replay

    absent: Mapping[str, str] = field(default_factory=lambda: transitions.ABSENT)
    """Condition of the first put."""
    record_absent: Mapping[str, str] = field(default_factory=lambda: transitions.RECORD_ABSENT)
    """Condition of a dead-letter record."""

    def without(self, write: str, *terms: str) -> Rules:
        """The same rules with terms of one write's condition dropped."""
        make: MakeWrite = getattr(self, write)

        def weaker(*arguments: Any) -> Write:
            made = make(*arguments)
            for term in terms:
                made = made.without(term)
            return made

        changed: dict[str, Any] = {write: weaker}
        return replace(self, **changed)


DEPLOYED = Rules()

WRITES = (
    "claim",
    "complete",
    "retry",
    "park",
    "die",
    "bury",
    "mark_recorded",
    "hand_back",
    "mark_sent",
    "cancel",
    "replay",
)

CRASH = "crash"
"""An actor ends between two of its steps."""
LOST_ANSWER = "lost answer"
"""A write or a send is made, its answer is lost, and the SDK repeats the call."""
HANG = "hang"
"""A write is cut off by a time-out and repeated; the first request lands at any time later."""
UNKNOWN = "unknown outcome"
"""The completing write fails with an error although it was made, or is made later: the attempt counts as failed."""
SLOW = "slow"
"""An actor stops for any time between two steps: leases and visibility time-outs run out over it."""
DUPLICATE = "duplicate"
"""A message is delivered again though it is hidden."""
BURNT = "burnt receives"
"""The function is throttled until the receives of a message are used up."""
LATE = "late"
"""A visible message is delivered at any time later."""
FAULTS = frozenset({CRASH, LOST_ANSWER, HANG, UNKNOWN, SLOW, DUPLICATE, BURNT, LATE})


@dataclass(frozen=True)
class Bounds:
    """How far one exploration goes. Times are ticks of one second."""

    faults: int = 1
    kinds: frozenset[str] = FAULTS
    attempts: int = 2
    max_receives: int | None = None
    """maxReceiveCount of the queue; None: the attempts and one more."""
    workers: int = 2
    monitors: int = 1
    messages: int = 1
    """What the first send puts into the queue: 2 for a send whose answer was lost, repeated by the SDK."""
    generations: int = 2
    cancels: int = 0
    replays: int = 0
    resubmits: int = 0
    sweeper: bool = True
    parking: bool = True
    """Whether work may ask for a wait that SQS cannot hold."""
    permanent: bool = True
    """Whether work may fail for good at once."""
    handed_back: int = 0
    """Hand-backs that the first generation has used up before it starts."""
    unsent: bool = True
    """Whether a sender may crash (or hang) between its row and its message: only the sweeper heals that."""

    resends: int = 1
    """How often the sweeper sends again while somebody slow, or a late message, could still act: slowness must end."""
    judge_acknowledging: bool = True
    """Whether the own predicate of acknowledging is checked, or only what comes of it."""

    visibility: int = 3
    dlq_visibility: int = 2
    lease: int = 2
    backoff: int = 1
    parked: int = 5
    resend_after: int = 4
    resubmit_after: int = 2
    record_after: int = 6

    @property
    def receives(self) -> int:
        return self.attempts + 1 if self.max_receives is None else self.max_receives


SMALL = Bounds()
