"""Structured logs and metrics: one JSON line per outcome, never a payload."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE = "TaskProcessing"

__all__ = ["MetricUnit", "Metrics", "logger", "metrics"]


def logger(service: str) -> Logger:
    """Events as JSON on standard output; the level comes from LOG_LEVEL (Powertools reads it)."""
    return Logger(service=service, log_uncaught_exceptions=False)


def metrics(stage: str) -> Metrics:
    """Metrics in CloudWatch's embedded metric format, by stage only: each further dimension is billed."""
    made = Metrics(namespace=NAMESPACE, service="tasks")
    made.set_default_dimensions(stage=stage)
    return made
