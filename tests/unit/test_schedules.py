"""When a kind is submitted by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from lambdas.common.kinds import Registry, Work
from lambdas.common.schedules import Schedule, cron, firing_id, minute_of, rate, time_of


def minute(text: str) -> int:
    return minute_of(datetime.fromisoformat(text).replace(tzinfo=UTC))


def due(schedule: Schedule, after: str, until: str) -> list[str]:
    return [f"{time_of(at):%Y-%m-%d %H:%M}" for at in schedule.due(minute(after), minute(until))]


def test_a_schedule_fires_after_one_minute_and_up_to_another() -> None:
    for schedule, after, until, firings in (
        (rate(minutes=1), "2026-11-24 09:59", "2026-11-24 10:01", ["2026-11-24 10:00", "2026-11-24 10:01"]),
        (rate(minutes=5), "2026-11-24 09:58", "2026-11-24 10:05", ["2026-11-24 10:00", "2026-11-24 10:05"]),
        (rate(minutes=5), "2026-11-24 10:00", "2026-11-24 10:04", []),
        (rate(hours=1), "2026-11-24 09:58", "2026-11-24 10:03", ["2026-11-24 10:00"]),
        (rate(days=1), "2026-11-24 23:58", "2026-11-25 00:03", ["2026-11-25 00:00"]),
        (rate(hours=1, minutes=30), "1970-01-01 00:00", "1970-01-01 03:00", ["1970-01-01 01:30", "1970-01-01 03:00"]),
        (cron("0 2 * * *"), "2026-11-24 01:57", "2026-11-24 02:02", ["2026-11-24 02:00"]),
        (cron("0 2 * * *"), "2026-11-24 02:00", "2026-11-24 02:05", []),
        (cron("*/2 * * * *"), "2026-11-24 01:59", "2026-11-24 02:02", ["2026-11-24 02:00", "2026-11-24 02:02"]),
        (cron("30 6 29 2 *"), "2027-01-01 00:00", "2028-12-31 00:00", ["2028-02-29 06:30"]),
        (cron("0 9 * * MON-FRI"), "2026-11-27 09:00", "2026-11-30 09:00", ["2026-11-30 09:00"]),
        (cron("0 9 L * *"), "2026-02-01 00:00", "2026-03-01 00:00", ["2026-02-28 09:00"]),
    ):
        assert due(schedule, after, until) == firings, schedule


@pytest.mark.parametrize("schedule", [rate(minutes=7), rate(hours=2), cron("*/13 3-5 * * *"), cron("0 0 1 * *")])
def test_windows_that_follow_one_another_miss_no_firing_and_tell_of_none_twice(schedule: Schedule) -> None:
    first, last = minute("2026-11-30 02:00"), minute("2026-12-01 08:00")
    minute_by_minute = [at for now in range(first, last) for at in schedule.due(now, now + 1)]
    assert minute_by_minute == schedule.due(first, last)
    assert len(minute_by_minute) >= 1


def test_a_schedule_that_means_nothing_is_refused_and_the_error_says_what_is_allowed() -> None:
    wrongs: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: rate(), "a rate of 0 minutes; allowed: 1 or more"),
        (lambda: rate(minutes=-5), "a rate of -5 minutes"),
        (lambda: cron("0 2 * *"), "cron(0 2 * *): 4 fields; allowed: the five of a crontab"),
        (lambda: cron("0 2 * * ? *"), "cron(0 2 * * ? *): 6 fields"),
        (lambda: cron("60 2 * * *"), "cron(60 2 * * *): Bad minute"),
        (lambda: cron("0 2 * * FUN"), "Bad day-of-week"),
        (lambda: cron("0 0 30 2 *"), "cron(0 0 30 2 *): Bad day-of-month"),
        (lambda: cron(""), "0 fields"),
    )
    for wrong, said in wrongs:
        with pytest.raises(ValueError, match=re.escape(said)):
            wrong()


def test_the_expression_is_as_people_write_it() -> None:
    assert [rate(minutes=1).expression, rate(hours=1).expression] == ["rate(1 minute)", "rate(60 minutes)"]
    assert cron("0 2 * * *").expression == "cron(0 2 * * *)"


def test_the_id_of_a_firing_is_its_kind_and_minute() -> None:
    assert firing_id("nightly-report", minute("2026-11-24 02:00")) == "nightly-report-20261124T0200Z"


def test_a_payload_is_the_same_each_time_or_made_from_the_time_of_the_firing() -> None:
    at = minute("2026-11-24 02:00")
    assert rate(minutes=1).payload_at(at) == {}
    assert rate(minutes=1, payload={"a": 1}).payload_at(at) == {"a": 1}
    made = cron("0 2 * * *", payload=lambda moment: {"day": moment.date().isoformat()})
    assert made.payload_at(at) == {"day": "2026-11-24"}


# Of a kind. -----------------------------------------------------------------------------------------------------------

NEEDS_DAY = {"type": "object", "required": ["day"]}


def declare(name: str, schedule: Schedule | None, schema: dict[str, Any]) -> Registry:
    registry = Registry()

    @registry.kind(name, schema=schema, schedule=schedule)
    def run(work: Work) -> None:
        return None

    return registry


def test_the_kinds_that_have_a_schedule_are_listed_and_told_to_whoever_deploys_them() -> None:
    registry = declare("pulse", rate(minutes=5), {})
    registry.kind("mail", schema={})(lambda work: None)
    assert [kind.name for kind in registry.scheduled()] == ["pulse"]
    assert [(one["name"], one["schedule"]) for one in registry.manifest()] == [
        ("mail", None),
        ("pulse", "rate(5 minutes)"),
    ]


@pytest.mark.parametrize(
    ("name", "schema", "said"),
    [
        (
            "report",
            NEEDS_DAY,
            "kind report: its schedule submits a payload that the kind refuses: payload must contain",
        ),
        ("a report", {}, "kind a report: no task id can begin with that"),
        ("r" * 101, {}, "no task id can begin with that"),
    ],
)
def test_a_schedule_that_could_submit_nothing_is_refused_when_the_kind_is_declared(
    name: str, schema: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        declare(name, rate(minutes=1), schema)
    declare(name, None, schema)
