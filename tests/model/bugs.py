"""Bugs put into the rules on purpose: each is a rule replaced, and the model must find what it breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lambdas.common import transitions
from lambdas.common.decisions import (
    UNDELIVERABLE,
    WORKER_DIED,
    Acknowledge,
    Answer,
    Bury,
    Defer,
    Drop,
    HandBack,
    OwnWrite,
    after_refused_claim,
    for_dead_message,
    for_replay,
)
from lambdas.common.task import MAX_HAND_BACKS, Claim, Message, Status, Task
from lambdas.common.transitions import Write
from tests.model.rules import BURNT, CRASH, DEPLOYED, DUPLICATE, SLOW, Bounds, Rules

SWEEPER_OFF = Bounds(sweeper=False, parking=False, unsent=False)
"""The queue alone must carry a task through any fault but a message never sent; a parked task waits for the sweeper."""


@dataclass(frozen=True)
class Bug:
    name: str
    rules: Rules
    bounds: Bounds
    """As tight as still shows it."""
    broken: str
    """How the violation that is found begins."""


def _acknowledge_dead(row: Task | None, claim: Claim) -> object:
    decision = after_refused_claim(row, claim)
    dead = row is not None and row.status is Status.FAILED_FINAL and row.generation == claim.message.generation
    return Acknowledge("dead") if dead else decision


def _acknowledge_own_lease(row: Task | None, claim: Claim) -> object:
    decision = after_refused_claim(row, claim)
    leased = row is not None and row.status is Status.PROCESSING and not row.lease_over(claim.now)
    return Acknowledge("being worked on") if leased and isinstance(decision, Defer) else decision


def _own_by_status(row: Task | None, claim: Claim) -> object:
    """Takes any attempt under way for its own, without comparing the token."""
    mine = row is not None and row.status is Status.PROCESSING and row.generation == claim.message.generation
    return OwnWrite() if mine else after_refused_claim(row, claim)


def _bury_the_living(row: Task | None, message: Message, message_id: str, now: int) -> object:
    decision = for_dead_message(row, message, message_id, now)
    used_up = row is not None and row.status is Status.PROCESSING and row.attempts >= row.max_attempts
    return Bury(WORKER_DIED) if used_up and isinstance(decision, Drop) else decision


def _count_every_hand_back(row: Task | None, message: Message, message_id: str, now: int) -> object:
    decision = for_dead_message(row, message, message_id, now)
    if row is None or decision != HandBack(counted=False):
        return decision
    return Bury(UNDELIVERABLE) if len(row.handed_back) >= MAX_HAND_BACKS else HandBack(counted=True)


def _replay_unrecorded(row: Task | None, generation: int | None, now: int) -> Answer:
    answer = for_replay(row, generation, now)
    return Answer.GO if answer is Answer.UNRECORDED else answer


def _replay_from_any_class(task: Task, now: int, token: str) -> Write:
    return transitions.replay(task, now, token).without("recorded")


def _claim_in_backoff(wish: Claim) -> Write:
    write = transitions.claim(wish)
    due = "#status IN (:submitted, :pending) OR (#status = :processing AND #leaseUntil < :now)"
    return replace(write, conditions={**write.conditions, "due_or_abandoned": due})


def _stale_acknowledges(task: Task) -> object:
    return replace(DEPLOYED.stale(task), acknowledge=True)


def _rules(**changed: Callable[..., Any]) -> Rules:
    replaced: dict[str, Any] = changed
    return replace(DEPLOYED, **replaced)


AS_READ = ("status_as_read", "token_as_read", "attempts_as_read")

BUGS = (
    Bug(
        "a dead task's message is acknowledged before the dead-letter queue",
        _rules(after_refused_claim=_acknowledge_dead),
        replace(SWEEPER_OFF, faults=0),
        "I8 a dead generation rests without a dead letter",
    ),
    Bug(
        "a message is acknowledged under the live lease of its own other delivery",
        _rules(after_refused_claim=_acknowledge_own_lease),
        replace(SWEEPER_OFF, faults=1, judge_acknowledging=False, permanent=False),
        "stuck",
    ),
    Bug(
        "the monitor gives up a task that is being worked on",
        replace(DEPLOYED.without("bury", "no_live_lease"), for_dead_message=_bury_the_living),
        Bounds(faults=1, attempts=1, messages=2, kinds=frozenset({BURNT}), parking=False),
        "I8 a live task was given up",
    ),
    Bug(
        "hand-backs are counted, not kept as a set of messages",
        _rules(for_dead_message=_count_every_hand_back),
        Bounds(faults=2, handed_back=2, kinds=frozenset({BURNT, CRASH}), dlq_visibility=1),
        "I2 given up as undeliverable",
    ),
    Bug(
        "the monitor acts on an old read",
        DEPLOYED.without("bury", *AS_READ).without("hand_back", *AS_READ),
        Bounds(
            faults=2,
            messages=2,
            handed_back=3,
            kinds=frozenset({BURNT, SLOW}),
            parking=False,
            permanent=False,
            resends=0,
        ),
        "I8 a live task was given up",
    ),
    Bug(
        "the claim does not look at the generation",
        DEPLOYED.without("claim", "same_generation"),
        replace(SWEEPER_OFF, faults=1, attempts=1, messages=2, replays=1, kinds=frozenset({DUPLICATE})),
        "I3 a message of another generation",
    ),
    Bug(
        "a foreign token is taken for one's own",
        _rules(after_refused_claim=_own_by_status),
        replace(SWEEPER_OFF, faults=1),
        "I7 two workers hold a valid token",
    ),
    Bug(
        "the claim does not wait for the backoff",
        _rules(claim=_claim_in_backoff),
        replace(SWEEPER_OFF, faults=1),
        "I2 an attempt began before its backoff was over",
    ),
    Bug(
        "a dead task is replayed before it is recorded",
        _rules(for_replay=_replay_unrecorded, replay=_replay_from_any_class),
        replace(SWEEPER_OFF, faults=0, replays=1),
        "I8 a dead task was replayed before it was recorded",
    ),
    Bug(
        "a stale worker acknowledges its message",
        _rules(stale=_stale_acknowledges),
        replace(SWEEPER_OFF, faults=1),
        "own: acknowledged the only message",
    ),
)
