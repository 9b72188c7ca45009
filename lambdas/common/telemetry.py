"""Structured logs and metrics: one JSON line per outcome, never a payload."""

from __future__ import annotations

import logging
import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE = "TaskProcessing"

ON_OFF = ("on", "off")
"""Values of METRICS; FIXED=low turns them off."""

__all__ = ["ON_OFF", "MetricUnit", "Metrics", "logger", "metrics"]


def logger(service: str) -> Logger:
    """Events as JSON on standard output, from LOG_LEVEL up.

    Powertools would let the level that Lambda filters by (AWS_LAMBDA_LOG_LEVEL, from LoggingConfig) decide. That one
    lets everything pass: Lambda takes a line of metrics, which has no level, for INFO, and would drop it above.
    """
    # The runtime gives the root logger that level, too, and botocore's lines at DEBUG hold whole requests and answers.
    logging.getLogger().setLevel(logging.WARNING)
    made = Logger(service=service, log_uncaught_exceptions=False, location=None)  # each byte of each line is billed
    logging.getLogger(service).setLevel(os.environ.get("LOG_LEVEL", "INFO"))
    return made


class Silent(Metrics):
    """Takes metrics and forgets them. (Powertools' own switch still prints at every hundredth value.)"""

    def add_metric(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    def flush_metrics(self, raise_on_empty_metrics: bool = False) -> None:
        """Nothing."""


def metrics(stage: str, wanted: str = "on") -> Metrics:
    """Metrics in CloudWatch's embedded metric format, by stage only: each set of dimensions is billed as a metric."""
    if wanted == "off":
        return Silent(namespace=NAMESPACE)
    made = Metrics(namespace=NAMESPACE)
    made.set_default_dimensions(stage=stage)
    return made
