"""The report of a chaos run as one page: figures and plots, nothing loaded from anywhere."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

matplotlib.use("svg")
matplotlib.rcParams.update(
    {
        "font.family": "sans-serif",
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "chaos",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#94a3b8",
        "xtick.color": "#475569",
        "ytick.color": "#475569",
        "axes.labelcolor": "#475569",
    }
)
BLUE, GREY, RED, GREEN, AMBER, VIOLET = "#2563eb", "#cbd5e1", "#dc2626", "#16a34a", "#f59e0b", "#7c3aed"
STATES = (
    ("COMPLETED", GREEN),
    ("FAILED_FINAL", RED),
    ("CANCELLED", "#64748b"),
    ("PROCESSING", BLUE),
    ("FAILED_PENDING", AMBER),
    ("SUBMITTED", GREY),
)
STYLE = """
:root { color-scheme: light; --ink: #0f172a; --soft: #475569; --line: #e2e8f0; --good: #16a34a; --bad: #dc2626; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #f8fafc; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 28px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 0 0 12px; }
p { color: var(--soft); margin: 0 0 12px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; margin: 24px 0; }
.tile, section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 16px; }
.tile b { display: block; font-size: 26px; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; } .good b { color: var(--good); } .bad b { color: var(--bad); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); gap: 16px; margin: 16px 0; }
svg { width: 100%; height: auto; } table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: right; padding: 4px 10px; border-bottom: 1px solid var(--line); }
td { font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, th.name, td.name { text-align: left; } th { color: var(--soft); font-weight: 500; }
code { font-size: 13px; }
"""
Report = Mapping[str, Any]
Plot = Callable[[Axes, Report], None]


def of(report: Report) -> str:
    """The whole page as HTML."""
    broken = sum(report["broken"].values())
    kept = "Every guarantee was kept" + (" until it was interrupted" if report["interrupted"] else "")
    verdict = kept if not broken else f"{broken} broken guarantees"
    seed = f"seed {report['seed']}, {report['seconds']} s, {report['machine']}"
    plots = "".join(f"<section><h2>{escape(title)}</h2>{drawn(draw, report)}</section>" for title, draw in PLOTS)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Chaos: {escape(verdict)}</title><style>{STYLE}</style>
<main>
<h1>{escape(verdict)}</h1>
<p>{report["accepted"]:,} tasks while everything broke ({escape(seed)}). The same again:
<code>make chaos COUNT={report["count"]} SEED={report["seed"]}</code></p>
<div class="tiles">{_tiles(report)}</div>
<div class="plots">{plots}</div>
<section><h2>Every fault, planned and happened</h2>
<p>A call whose process was ended by another fault at the same moment is planned and does not happen: “explained”,
by the journal. “Unexplained” is what the journal has no such reason for.
“Ended well”: the task of that fault came to a right end.</p>
{_fault_table(report)}</section>
<p></p><section><h2>Short time-outs of this run</h2><p><code>{escape(_profile(report))}</code></p></section>
</main></html>
"""


def _tiles(report: Report) -> str:
    fired = sum(line["fired"] for line in report["faults"])
    bound = report["lost_share_at_most"]
    broken = report["broken"]
    tiles = [
        (report["accepted"], "accepted", ""),
        (broken["lost"], "lost" + (f", below {bound:.3%} (95 %)" if bound else ""), _mood(broken["lost"])),
        (broken["double"], "done twice", _mood(broken["double"])),
        (broken["stuck"], "stuck", _mood(broken["stuck"])),
        (broken["wrong-terminal"], "wrong ends", _mood(broken["wrong-terminal"])),
        (broken["dead-letter"], "wrong dead letters", _mood(broken["dead-letter"])),
        (fired, "faults", ""),
        (report["unknown"], f"unknown outcomes, {report['unknown_but_there']} of them tasks", ""),
        (report["outside_effects"]["repeated"], "outside effects repeated", ""),
    ]
    return "".join(
        f'<div class="tile {mood}"><b>{number:,}</b><span>{escape(name)}</span></div>' for number, name, mood in tiles
    )


def _mood(number: int) -> str:
    return "bad" if number else "good"


def _profile(report: Report) -> str:
    return ", ".join(f"{name} {value}" for name, value in report["profile"].items())


def _fault_table(report: Report) -> str:
    rows = "".join(
        f'<tr><td>{escape(line["operation"])}</td><td class="name">{escape(line["fault"])}</td>'
        f"<td>{line['planned']}</td><td>{line['fired']}</td><td>{line['explained']}</td>"
        f"<td>{line['unexplained']}</td><td>{line['recovered']}</td></tr>"
        for line in report["faults"]
    )
    names = ("planned", "happened", "explained", "unexplained", "ended well")
    head = '<th>operation</th><th class="name">fault</th>' + "".join(f"<th>{name}</th>" for name in names)
    return f"<table><tr>{head}</tr>{rows}</table>"


def drawn(draw: Callable[[Axes, Any], None], report: Any) -> str:
    """The plot as SVG, to stand in a page."""
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    draw(figure.subplots(), report)
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _course(axes: Axes, report: Report) -> None:
    looks = report["course"]
    seconds = [look["seconds"] for look in looks]
    counts = [[look.get(state, 0) for look in looks] for state, _ in STATES]
    axes.stackplot(seconds, counts, labels=[state for state, _ in STATES], colors=[colour for _, colour in STATES])
    axes.set_xlabel("seconds")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=7, frameon=False)


def _faults(axes: Axes, report: Report) -> None:
    planned, fired = Counter[str](), Counter[str]()
    for line in report["faults"]:
        planned[line["fault"]] += line["planned"]
        fired[line["fault"]] += line["fired"]
    names = [name for name, _ in planned.most_common()][::-1]
    axes.barh(names, [planned[name] for name in names], color=GREY, label="planned")
    axes.barh(names, [fired[name] for name in names], color=BLUE, height=0.5, label="happened")
    axes.legend(loc="lower right", fontsize=7, frameon=False)
    axes.tick_params(axis="y", labelsize=7)


def _recovery(axes: Axes, report: Report) -> None:
    known = {fault: line for fault, line in report["recovery_ms"].items() if line["tasks"]}
    names = sorted(known, key=lambda fault: known[fault]["p95"])
    for at, fault in enumerate(names):
        line = known[fault]
        axes.plot([line["p50"] / 1000, line["max"] / 1000], [at, at], color=GREY, linewidth=2, zorder=1)
        axes.scatter(line["p50"] / 1000, at, color=GREEN, s=22, zorder=2, label="p50" if not at else None)
        axes.scatter(line["p95"] / 1000, at, color=AMBER, s=22, zorder=2, label="p95" if not at else None)
        axes.scatter(line["max"] / 1000, at, color=RED, s=22, zorder=2, label="max" if not at else None)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xlabel("seconds until the task's next change of status")
    axes.legend(loc="lower right", fontsize=7, frameon=False)


def _attempts(axes: Axes, report: Report) -> None:
    series: Sequence[tuple[str, Mapping[str, int], str, float]] = (
        ("attempts", report["attempts_per_task"], BLUE, -0.2),
        ("receives", report["receives_per_task"], VIOLET, 0.2),
    )
    for name, histogram, colour, shift in series:
        at = [int(value) + shift for value in histogram]
        axes.bar(at, list(histogram.values()), width=0.4, color=colour, label=f"{name}, {report[name]:,} in all")
    axes.set_yscale("log")
    axes.set_xlabel("per task")
    axes.set_ylabel("tasks")
    axes.legend(fontsize=7, frameon=False)


def _calls(axes: Axes, report: Report) -> None:
    calls = report["calls_per_task"]
    names = sorted(calls, key=lambda name: calls[name]["chaos"])
    rows = range(len(names))
    axes.barh(
        [row + 0.2 for row in rows], [calls[name]["chaos"] for name in names], height=0.4, color=RED, label="chaos"
    )
    calm = [calls[name]["calm"] for name in names]
    axes.barh([row - 0.2 for row in rows], calm, height=0.4, color=GREEN, label="no faults")
    axes.set_yticks(list(rows), names, fontsize=7)
    axes.set_xlabel("requests per task, repeated ones included")
    axes.legend(loc="lower right", fontsize=7, frameon=False)


PLOTS: Sequence[tuple[str, Plot]] = (
    ("Tasks by status", _course),
    ("Faults by kind", _faults),
    ("How long recovery takes", _recovery),
    ("Attempts are not receives", _attempts),
    ("What chaos costs in calls", _calls),
)
