"""When a kind of task is submitted by itself: at even distances, or by cron's rules; always UTC. Pure.

Time is counted in whole minutes since 1970, the finest that EventBridge fires at. Each firing has an id of its own,
made of kind and minute: whoever submits it again, for whatever reason, finds the task there already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

JsonObject = dict[str, Any]
LOOK_BACK_MINUTES = 5
"""A firing that nobody submitted in its minute is made up for within so many."""
MINUTES_PER_DAY = 24 * 60

Payload = JsonObject | Callable[[datetime], JsonObject]
"""The same at each firing, or made from its time, and from nothing else: a repeated firing must make the same."""


@dataclass(frozen=True)
class Schedule:
    """`due` lists the firings after one minute and up to another."""

    expression: str
    due: Callable[[int, int], list[int]]
    payload: Payload

    def payload_at(self, minute: int) -> JsonObject:
        return self.payload(time_of(minute)) if callable(self.payload) else self.payload


def rate(*, minutes: int = 0, hours: int = 0, days: int = 0, payload: Payload | None = None) -> Schedule:
    """Every so often, counted from midnight UTC of 1970-01-01: `rate(hours=1)` fires at each full hour.

    Raises:
        ValueError: less than a minute.
    """
    every = minutes + 60 * hours + MINUTES_PER_DAY * days
    if every < 1:
        raise ValueError(f"a rate of {every} minutes; allowed: 1 or more")

    def due(after: int, until: int) -> list[int]:
        return list(range((after // every + 1) * every, until + 1, every))

    return Schedule(f"rate({every} minute{'s' if every > 1 else ''})", due, payload or {})


def cron(fields: str, *, payload: Payload | None = None) -> Schedule:
    """At the times that five fields of a crontab name: minute, hour, day of month, month, day of week.

    `0 2 * * *` is 02:00 UTC each day. EventBridge's own form has six fields and other days of the week (1 is Sunday).

    Raises:
        ValueError: they are not five, or one of them means nothing.
    """
    from cronsim import CronSim, CronSimError  # most functions load no schedule, and it takes 20 ms

    if len(fields.split()) != 5:
        raise ValueError(f"cron({fields}): {len(fields.split())} fields; allowed: the five of a crontab")
    try:
        CronSim(fields, time_of(0))
    except CronSimError as error:
        raise ValueError(f"cron({fields}): {error}") from error

    def due(after: int, until: int) -> list[int]:
        found = []
        for moment in CronSim(fields, time_of(after)):
            if minute_of(moment) > until:
                break
            found.append(minute_of(moment))
        return found

    return Schedule(f"cron({fields})", due, payload or {})


def firing_id(kind: str, minute: int) -> str:
    """`nightly-report-20261124T0200Z`."""
    return f"{kind}-{time_of(minute):%Y%m%dT%H%MZ}"


def minute_of(moment: datetime) -> int:
    return int(moment.timestamp()) // 60


def time_of(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)
