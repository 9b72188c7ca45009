"""What `make cost` adds up: the bill, the prices, what a log tells, and the tables."""

from __future__ import annotations

import tomllib
from contextlib import nullcontext
from datetime import date
from pathlib import Path

import pytest

from scripts.cost import __main__ as cost
from scripts.cost import prices, stand
from scripts.cost.bill import Counts, Ends, Fixed, polls
from scripts.cost.functions import Ran, read
from scripts.cost.measure import BATCHED, BATCHES, DESIGNS, Measured, Tell
from scripts.cost.prices import Price, Prices

LIST = Prices(
    "here",
    "2026-11-24",
    {
        name: Price(usd, 1, "a page")
        for name, usd in {
            "rest_requests": 4,
            "invocations": 1,
            "read_units": 1,
            "write_units": 2,
            "log_bytes": 1,
            "metrics": 30,
            "queue_requests": 1,
        }.items()
    },
)


def requests(count: float) -> Counts:
    return Counts({"rest_requests": count})


# The bill. ------------------------------------------------------------------------------------------------------------


def test_counts_are_added_by_name_multiplied_and_priced() -> None:
    counts = (requests(1) + Counts({"rest_requests": 1, "write_units": 3})) * 2
    assert counts == Counts({"rest_requests": 4, "write_units": 6})
    assert counts.usd(LIST) == 4 * 4 + 6 * 2


@pytest.mark.parametrize(
    ("rate", "count"),
    [
        (0, 1),
        (0.5, (0.5 * 1 + 0.25 * 2 + 0.25 * 10) / 0.75),
        (0.3, (0.7 * 1 + 0.21 * 2 + 0.09 * 10) / 0.91),
    ],
)
def test_a_good_task_pays_for_its_retries_and_for_those_that_died(rate: float, count: float) -> None:
    two_attempts = Ends([requests(1), requests(2)], requests(10))
    assert two_attempts.per_good_task(rate).of["rest_requests"] == pytest.approx(count)


def test_an_idle_queue_is_asked_by_five_polls_of_twenty_seconds() -> None:
    assert polls(2) == Counts({"queue_requests": 2 * 5 * 3 * 60 * 24 * 30})


# The price lists. -----------------------------------------------------------------------------------------------------

FILES = sorted(prices.FOLDER.glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_price_list_is_dated_and_each_price_has_its_page_and_says_how_it_was_found(path: Path) -> None:
    document = tomllib.loads(path.read_text())
    entries = {name: entry for name, entry in document.items() if isinstance(entry, dict)}
    assert date.fromisoformat(document["date"]) <= date.today()
    assert document["region"] == path.stem
    assert set(entries) == set(cost.NAMES)
    assert all(entry["source"].startswith("https://aws.amazon.com/") and entry["found"] for entry in entries.values())


def test_a_price_is_kept_by_the_piece() -> None:
    found = prices.read("eu-west-1")
    assert found.usd({"rest_requests": 1_000_000, "dashboards": 1}) == pytest.approx(3.50 + 3)


# What a log tells. ----------------------------------------------------------------------------------------------------

LINES = [
    "START RequestId: 1 Version: $LATEST",
    '{"message":"grün"}',
    '{"_aws":{}}',
    "END RequestId: 1",
    "REPORT RequestId: 1\tDuration: 4 ms\tBilled Duration: 5 ms\tMemory Size: 512 MB",
]


def test_a_log_tells_invocations_billed_time_and_whose_bytes_are_whose() -> None:
    system = sum(len(LINES[number]) + 26 for number in (0, 3, 4))
    assert read(LINES) == Ran(1, 5, 19 + 26 + 11 + 26, 11 + 26, system)
    assert read([*LINES, *LINES]) == read(LINES) + read(LINES)
    assert read([]) == Ran()


def test_a_stopped_count_ends_with_130_in_one_line_below_what_it_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object, __: object, tell: Tell) -> Measured:
        tell("ours", 10, measured(2, 1).ends["ours", 10])
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["cost"])
    monkeypatch.setattr(stand, "stack", lambda: nullcontext((None, {})))
    monkeypatch.setattr(cost, "measure", interrupted)
    assert cost.main() == 130
    out, err = capsys.readouterr()
    had, last = err.splitlines()
    assert had == "  counted: ours, full batches of 10: 7.00 USD per million good tasks"
    assert (out, last.startswith("error: Interrupted")) == ("", True)


# The tables. ----------------------------------------------------------------------------------------------------------


def measured(ours: float, original: float) -> Measured:
    good = {"ours": Counts({"rest_requests": ours, "log_bytes": 1}), "original": requests(original)}
    good[BATCHED] = Counts({"rest_requests": 0.01, "log_bytes": 1})
    ends = {(name, batch): Ends([counts], requests(0)) for name, counts in good.items() for batch in BATCHES}
    fixed = {
        "ours": Fixed({"polls": Counts({"queue_requests": 7}), "metrics": Counts({"metrics": 2})}),
        "low": Fixed({"polls": Counts({"queue_requests": 7})}),
        "original": Fixed({"polls": Counts({"queue_requests": 7})}),
    }
    return Measured(ends, fixed, [], metrics_of_logs=0.5, dropped_log_bytes=3)


@pytest.mark.parametrize(("original", "word"), [(1.1, "reached"), (1.0, "missed")])
def test_the_target_is_reached_or_missed(original: float, word: str) -> None:
    first, second, third = cost.verdict(measured(1, original), LIST)
    assert f"{5 / (4 * original):.3f}, {word}." in first
    assert "in batches of 100, received in full batches: at most 0.6 times the original." in second
    assert f"{1.04 / (4 * original):.3f}" in second
    assert "3000000.00 USD" in third


def test_a_month_is_its_tasks_and_its_fixed_part() -> None:
    table = cost.month_table(measured(1, 2), LIST, 1000, 0.3)
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells == ["each alone in its batch, 0% of attempts fail", "5,067.00", "5,007.00", "8,007.00"]


def test_what_is_left_out_with_low_fixed_costs_is_nothing_in_its_column() -> None:
    table = cost.fixed_table(measured(1, 2), LIST)
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert rows == [
        ("polls", "7 queue requests", "7.00", "7.00", "7.00"),
        ("metrics", "2 metrics", "60.00", "0.00", "0.00"),
        ("all", "", "67.00", "7.00", "7.00"),
    ]


def test_the_machine_readable_form_has_every_case() -> None:
    found = cost.as_json(measured(1, 2), LIST, 1000, 0.3)
    cases = {(case["design"], case["batch"], case["failure_rate"]) for case in found["per_million"]}
    assert cases == {(name, batch, rate) for name in (*DESIGNS, BATCHED) for batch in BATCHES for rate in (0, 0.3)}
    assert found["fixed_per_month"]["low"] == {"polls": 7}
