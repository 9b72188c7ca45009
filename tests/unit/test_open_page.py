"""What an open page of the dashboard is said to cost: how often it asks, and what its questions read."""

from __future__ import annotations

import pytest

from lambdas.common.task import IndexClass
from scripts.cost import __main__ as cost
from scripts.cost import open_page, prices
from scripts.cost.open_page import CODE, Scene, Table, list_units, questions, stats_units

EMPTY = Scene("empty", {}, 0)
PARTITIONS = 24
PAGE = "const BUSY_MS = 2000, IDLE_MS = 10000;\nconst STATS_BUSY_MS = 5000, STATS_IDLE_MS = 30000;"


@pytest.mark.parametrize(("busy", "asked"), [(False, (360, 120)), (True, (1800, 600))])
def test_the_page_asks_for_a_list_each_turn_and_for_stats_at_the_first_turn_after_their_time(
    busy: bool, asked: tuple[float, float]
) -> None:
    assert questions(busy, PAGE) == asked
    assert questions(busy, CODE.read_text()) == asked, "docs/cost.md and README.md say how often the page asks"


@pytest.mark.parametrize(
    ("tasks", "units"),
    [
        ({}, 28 * 0.5),  # 24 partitions, those of the open ones asked twice
        ({IndexClass.COMPLETED: 8}, 28 * 0.5 + 8),
        (
            {IndexClass.COMPLETED: 1000},
            28 * 0.5 + 25,
        ),  # 25 keys of a partition are under 4 KB, and so many rows are read
    ],
)
def test_a_list_reads_a_page_of_each_partition_and_the_rows_of_one(tasks: dict[IndexClass, int], units: float) -> None:
    assert list_units(Scene("", tasks, 0)) == units


def test_stats_read_every_key_up_to_ten_thousand_of_each_count() -> None:
    least = (PARTITIONS + 4 + 2) * 0.5  # and the oldest of each open shard, and two hours of minutes
    assert stats_units(EMPTY) == least
    ten_thousand_keys = 10_001 * open_page.KEY_BYTES / 4096 * 0.5
    for tasks in (12_500, 50_000):
        grown = stats_units(Scene("", {IndexClass.COMPLETED: tasks}, 0)) - least
        assert grown == pytest.approx(ten_thousand_keys, rel=0.02)


def test_a_month_is_its_questions_and_what_they_read() -> None:
    scene = Scene("", {IndexClass.COMPLETED: 8}, 0)
    counts = open_page.month(scene, PAGE).of
    assert (counts["rest_requests"], counts["invocations"], counts["queue_requests"]) == (345_600, 345_600, 172_800)
    assert counts["read_units"] == 259_200 * list_units(scene) + 86_400 * stats_units(scene)


def test_it_stands_beside_the_fixed_part_with_its_sum() -> None:
    table = cost.page_table(prices.read("eu-west-1"))
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert [row[0] for row in rows] == [scene.name for scene in open_page.SCENES]
    for row in rows:
        requests, reads, both = (float(str(cell)) for cell in row[3:])
        assert both == pytest.approx(requests + reads, abs=0.011)


def test_a_table_gives_its_keys_newest_first_and_goes_on_behind_one() -> None:
    table = Table(Scene("", {IndexClass.COMPLETED: 400}, 0))
    first = table.newest("C#0", 25, None)
    then = table.newest("C#0", 100, first.keys[-1].sort)
    sorts = [key.sort for key in (*first.keys, *then.keys)]
    assert sorts == sorted(set(sorts), reverse=True)
    assert (len(sorts), first.more, then.more) == (100, True, False)
