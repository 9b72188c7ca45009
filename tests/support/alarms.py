"""CloudWatch alarms evaluated here: by their own definition, on what the functions wrote as metrics.

For emulators that do neither (docs/parity.md): they keep an alarm's definition, but count no embedded metrics.
"""

from __future__ import annotations

import json
import operator
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ALARM", "OK", "INSUFFICIENT_DATA"]
Dimensions = frozenset[tuple[str, str]]

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
    "Average": statistics.fmean,
    "SampleCount": len,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric; `at` is in milliseconds."""

    namespace: str
    metric: str
    dimensions: Dimensions
    value: float
    at: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """What decides, of the properties of AWS::CloudWatch::Alarm, or of DescribeAlarms."""

    namespace: str
    metric: str
    dimensions: Dimensions
    statistic: str
    period_ms: int
    periods: int
    to_alarm: int
    comparison: str
    threshold: float
    missing: str

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Alarm:
        periods = properties["EvaluationPeriods"]
        return cls(
            properties["Namespace"],
            properties["MetricName"],
            frozenset((dimension["Name"], str(dimension["Value"])) for dimension in properties["Dimensions"]),
            properties["Statistic"],
            properties["Period"] * 1000,
            periods,
            properties.get("DatapointsToAlarm") or periods,
            properties["ComparisonOperator"],
            float(properties["Threshold"]),
            properties.get("TreatMissingData", "missing"),
        )

    def state(self, samples: Sequence[Sample], now: int) -> State:
        """By the last `periods` before `now` (CloudWatch User Guide, alarm-evaluation, alarms-and-missing-data).

        AWS looks a little further back where data are missing, and keeps the state with `ignore`; no alarm here asks
        for that.
        """
        assert self.missing in ("breaching", "notBreaching", "missing"), self.missing
        mine = [sample for sample in samples if self._watches(sample)]
        found = [self._breaching(mine, now - self.period_ms * number) for number in range(self.periods)]
        if all(breaching is None for breaching in found) and self.missing == "missing":
            return "INSUFFICIENT_DATA"
        count = sum(self.missing == "breaching" if breaching is None else breaching for breaching in found)
        return "ALARM" if count >= self.to_alarm else "OK"

    def _watches(self, sample: Sample) -> bool:
        return (sample.namespace, sample.metric, sample.dimensions) == (self.namespace, self.metric, self.dimensions)

    def _breaching(self, samples: Sequence[Sample], end: int) -> bool | None:
        """In the period that ends then; None: no data."""
        values = [sample.value for sample in samples if end - self.period_ms < sample.at <= end]
        return COMPARISONS[self.comparison](STATISTICS[self.statistic](values), self.threshold) if values else None


def embedded(line: str) -> Iterator[Sample]:
    """What CloudWatch would take from a log line (CloudWatch User Guide, Embedded Metric Format specification)."""
    document = json.loads(line) if line.startswith("{") else {}
    for directive in document.get("_aws", {}).get("CloudWatchMetrics", []):
        for names in directive["Dimensions"]:
            dimensions = frozenset((name, document[name]) for name in names)
            for metric in directive["Metrics"]:
                values = document[metric["Name"]]
                for value in values if isinstance(values, list) else [values]:
                    yield Sample(
                        directive["Namespace"], metric["Name"], dimensions, value, document["_aws"]["Timestamp"]
                    )
