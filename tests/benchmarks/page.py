"""The report of a benchmark as one page: targets, plots, every median. Nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from matplotlib.axes import Axes

from tests.benchmarks import tables
from tests.benchmarks.contenders import ceiling
from tests.benchmarks.report import Report, Target
from tests.benchmarks.workloads import COLD, NO_OP
from tests.chaos.page import AMBER, BLUE, GREEN, GREY, RED, STYLE, VIOLET, drawn

COLOURS = {
    "ours": BLUE,
    "ours, batch": VIOLET,
    "original": AMBER,
    "Celery": GREEN,
    "Celery, results": "#0d9488",
    "Celery, threads": "#65a30d",
}
COLUMNS: Sequence[tuple[str, str, str]] = (
    ("tasks/s", "tasks_per_second", "{:,.1f}"),
    ("accepted/s", "accepted_per_second", "{:,.1f}"),
    ("submit p50, ms", "submit_p50_ms", "{:,.1f}"),
    ("p95", "submit_p95_ms", "{:,.1f}"),
    ("p99", "submit_p99_ms", "{:,.1f}"),
    ("to the end p50, s", "done_p50_seconds", "{:,.2f}"),
    ("p95", "done_p95_seconds", "{:,.2f}"),
    ("worker CPU, ms per task", "worker_cpu_ms", "{:,.1f}"),
    ("server CPU", "server_cpu_ms", "{:,.1f}"),
    ("memory, MB", "worker_memory_mb", "{:,.0f}"),
    ("processes", "processes", "{:,.0f}"),
    ("not ended", "unended", "{:,.0f}"),
)


def of(report: Report) -> str:
    """The whole page as HTML."""
    tiles = "".join(map(_tile, report.targets()))
    plots = "".join(f"<section><h2>{escape(title)}</h2>{drawn(draw, report)}</section>" for title, draw in PLOTS)
    medians = "".join(_section(name, _medians(report, name)) for name in report.names("workload"))
    shown = tables.tables(tables.summary(report.document()))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Benchmark</title><style>{STYLE} section {{ overflow-x: auto; }}</style>
<main>
<h1>Measured side by side</h1>
<p>{escape(report.machine)}. Everything is on it: clients, local AWS and functions. Medians of {report.runs} runs; a
ratio is the median of the ratios of runs that stood side by side. These are figures of this machine, not of AWS. The
same again: <code>make bench</code></p>
<div class="tiles">{tiles}</div>
<div class="plots">{plots}</div>
{medians}
{_section("Killed workers", table(*shown["kills"]))}
{_section("Cold starts", table(*shown["cold"]))}
{_section("What a good task counts", _counts(report))}
{_section("CPU per task in our own processes", table(*shown["cpu"]))}
{_section("The bare calls", _bare())}
</main></html>
"""


def _tile(target: Target) -> str:
    mood = "good" if target.reached else "bad"
    text = escape(f"{target.what}; {target.asked}")
    return f'<div class="tile {mood}"><b>{target.reached_is:,.2f}</b><span>{text}</span></div>'


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section><p></p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{names}</tr>{lines}</table>"


def _medians(report: Report, workload: str) -> str:
    rows = [
        [name, *(form.format(report.median(name, workload, figure) or 0) for _, figure, form in COLUMNS)]
        for name in report.names("contender")
        if report.series(name, workload, "tasks")
    ]
    return table(["", *(title for title, _, _ in COLUMNS)], rows)


def _counts(report: Report) -> str:
    names = list(dict.fromkeys(name for counted in report.counts.values() for name in counted))
    rows = [[who, *(f"{counted.get(name, 0):,.4g}" for name in names)] for who, counted in report.counts.items()]
    return table(["", *(name.replace("_", " ") for name in names)], rows)


def _bare() -> str:
    return "".join(f"<p>{escape(name)}: {escape(calls)}.</p>" for name, calls in ceiling.mix(NO_OP).items())


def _bars(workload: str, figure: str, unit: str) -> Callable[[Axes, Report], None]:
    def draw(axes: Axes, report: Report) -> None:
        found = {name: report.median(name, workload, figure) for name in report.names("contender")}
        bars = {name: value for name, value in found.items() if value is not None}
        names = list(bars)[::-1]
        drawn_bars = axes.barh(names, [bars[name] for name in names], color=[COLOURS.get(name, GREY) for name in names])
        axes.bar_label(drawn_bars, fmt="{:,.1f}", fontsize=7, padding=3)
        axes.set_xlabel(unit)

    return draw


def _killed(axes: Axes, report: Report) -> None:
    names = [toll.contender for toll in report.tolls][::-1]
    axes.barh(names, [toll.lost for toll in report.tolls][::-1], color=RED)
    axes.set_xlabel("tasks lost")
    axes.tick_params(axis="y", labelsize=7)


PLOTS: Sequence[tuple[str, Callable[[Axes, Report], None]]] = (
    ("1,000 tasks without work, tasks/s", _bars(NO_OP.name, "tasks_per_second", "tasks per second")),
    ("1,000 tasks accepted", _bars(NO_OP.name, "accepted_per_second", "tasks accepted per second")),
    ("Tasks of one second, tasks/s", _bars("1 s of work", "tasks_per_second", "tasks per second")),
    ("CPU of functions or workers", _bars(NO_OP.name, "worker_cpu_ms", "ms per task")),
    ("From submit to end", _bars("no-op, 1 client", "done_p50_seconds", "seconds, p50, one client")),
    ("Submit", _bars("no-op, 1 client", "submit_p50_ms", "ms, p50, one client")),
    ("First task on cold functions", _bars(COLD.name, "done_p50_seconds", "seconds from submit to end")),
    ("Lost when workers are killed", _killed),
)
