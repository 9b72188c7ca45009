"""The report of a benchmark: plain data, medians over its runs, and the ratios that the targets are put in."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.cost.measure import BATCHES, DESIGNS, Measured
from tests.benchmarks import tables
from tests.benchmarks.coldstart import Cold
from tests.benchmarks.contenders import ceiling
from tests.benchmarks.contenders.ceiling import Bare
from tests.benchmarks.kills import Toll
from tests.benchmarks.measure import Figures, ratios
from tests.benchmarks.profiled import Profiled
from tests.benchmarks.site import SETTINGS
from tests.benchmarks.units import circumstances, machine
from tests.benchmarks.ups import Ups
from tests.benchmarks.workloads import NO_OP, WORK
from tests.support.summary import dumped

CEILING, CEILING_BATCH = Bare.NAMES
OURS, BATCH, ORIGINAL = "ours", "ours, batch", "original"
CELERY, RECORDED, THREADED = "Celery", "Celery, results", "Celery, threads"


@dataclass
class Report:
    """Filled while the benchmark runs; what an interrupted one has got is whole too."""

    runs: int
    figures: list[Figures] = field(default_factory=list)
    machine: str = field(default_factory=lambda: f"{machine()}; {circumstances()}")
    """As it is at the begin."""
    ups: Ups | None = None
    profiles: Sequence[Profiled] = ()
    cold: Sequence[Cold] = ()
    tolls: Sequence[Toll] = ()
    counts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def series(self, contender: str, workload: str, figure: str) -> list[float]:
        """One value per run."""
        return [
            getattr(each, figure) for each in self.figures if (each.contender, each.workload) == (contender, workload)
        ]

    def median(self, contender: str, workload: str, figure: str) -> float | None:
        found = self.series(contender, workload, figure)
        return statistics.median(found) if found else None

    def names(self, of: str) -> list[str]:
        """`contender`s or `workload`s, in their order."""
        return list(dict.fromkeys(getattr(each, of) for each in self.figures))

    def ratio(self, one: str, other: str, workload: str, figure: str) -> float | None:
        pair = self.series(one, workload, figure), self.series(other, workload, figure)
        return ratios(*pair) if pair[0] and len(pair[0]) == len(pair[1]) else None

    def targets(self) -> list[Target]:
        speed, accepted = "tasks_per_second", "accepted_per_second"
        found = [
            Target(
                "single submit p50, ours / original", self.ratio(OURS, ORIGINAL, NO_OP.name, "submit_p50_ms"), at_most=1
            ),
            Target("no-op tasks/s, ours / original", self.ratio(OURS, ORIGINAL, NO_OP.name, speed), at_least=1),
            Target("no-op tasks/s, batch / original", self.ratio(BATCH, ORIGINAL, NO_OP.name, speed), at_least=3),
            Target("accepted/s, batch / original", self.ratio(BATCH, ORIGINAL, NO_OP.name, accepted), at_least=3),
            Target("no-op tasks/s, ours / the bare calls", self.ratio(OURS, CEILING, NO_OP.name, speed), at_least=0.8),
            Target(
                "no-op tasks/s, batch / the bare calls, batch",
                self.ratio(BATCH, CEILING_BATCH, NO_OP.name, speed),
                at_least=0.8,
            ),
            Target("no-op tasks/s, ours / Celery", self.ratio(OURS, CELERY, NO_OP.name, speed), at_least=1),
            Target("no-op tasks/s, batch / Celery", self.ratio(BATCH, CELERY, NO_OP.name, speed), at_least=1),
            Target("no-op tasks/s, ours / Celery, results", self.ratio(OURS, RECORDED, NO_OP.name, speed), at_least=1),
            Target("1 s tasks/s, ours / Celery", self.ratio(OURS, CELERY, WORK.name, speed), at_least=1),
            Target("1 s tasks/s, ours / Celery, threads", self.ratio(OURS, THREADED, WORK.name, speed), at_least=1),
        ]
        cold = [
            Target(f"cold start CPU, {each.function} / bare handler", each.cpu_ratio, at_most=1.2)
            for each in self.cold
            if each.function in ("SubmitTask", "ProcessTask")
        ]
        lost = [
            Target(f"tasks lost by kills, {toll.contender}", toll.lost, at_most=0)
            for toll in self.tolls
            if toll.contender == OURS
        ]
        return [target for target in (*found, *cold, *lost, *self._ups()) if target.reached_is is not None]

    def document(self) -> Mapping[str, Any]:
        """As it is written to report.json."""
        return {
            "at": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": self.machine,
            "settings": SETTINGS,
            "runs": self.runs,
            "bare_calls": ceiling.mix(NO_OP),
            "targets": [asdict(target) | {"reached": target.reached} for target in self.targets()],
            "figures": [asdict(each) for each in self.figures],
            "cold": [asdict(each) for each in self.cold],
            "kills": [asdict(each) for each in self.tolls],
            "counts_per_task": self.counts,
            "cpu_per_task": [asdict(each) for each in self.profiles],
            "ups": asdict(self.ups) if self.ups else None,
        }

    def write(self, folder: Path) -> None:
        from tests.benchmarks import page  # matplotlib takes a moment to load

        folder.mkdir(parents=True, exist_ok=True)
        document = rounded(self.document())
        (folder / "report.json").write_text(json.dumps(document, indent=1) + "\n")
        (folder / "summary.json").write_text(dumped(rounded(tables.summary(document))))
        (folder / "index.html").write_text(page.of(self))

    def _ups(self) -> Sequence[Target]:
        fresh, again = (self.ups.fresh_seconds, self.ups.again_seconds) if self.ups else (None, None)
        return (
            Target("`make up`, nothing running, s", fresh, at_most=3),
            Target("`make up`, nothing to do, s", again, at_most=1),
        )


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio of the same run, a count, or seconds, and what is asked of it."""

    what: str
    reached_is: float | None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reached(self) -> bool:
        value = self.reached_is
        assert value is not None
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    @property
    def asked(self) -> str:
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"


def counts(measured: Measured) -> Mapping[str, Mapping[str, float]]:
    """What a good task counts in calls, units, GB-seconds and log bytes, as `make cost` prices them."""
    return {
        f"{name}, batches of {batch}": measured.ends[name, batch].good[0].of for name in DESIGNS for batch in BATCHES
    }


def rounded(value: Any) -> Any:
    """Four significant digits: more is noise, and makes a report hard to compare."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {name: rounded(part) for name, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, (list, tuple)) else value
