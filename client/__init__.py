"""Submit tasks and wait for them, cancel them, replay dead ones, from Python."""

from client.redrive import Outcome, Step, Tally, Wanted, redrive_many
from client.tasks import (
    ApiError,
    Conflict,
    DeadLetter,
    Forbidden,
    NotFound,
    Rejected,
    Steered,
    Submitted,
    Task,
    TaskClient,
    Unavailable,
    WaitTimeout,
)

__all__ = [
    "ApiError",
    "Conflict",
    "DeadLetter",
    "Forbidden",
    "NotFound",
    "Outcome",
    "Rejected",
    "Steered",
    "Step",
    "Submitted",
    "Tally",
    "Task",
    "TaskClient",
    "Unavailable",
    "WaitTimeout",
    "Wanted",
    "redrive_many",
]
