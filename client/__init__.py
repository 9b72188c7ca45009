"""Submit tasks and wait for them, cancel them, replay dead ones, from Python."""

from client.errors import ApiError, Conflict, Forbidden, NoApi, NotFound, Rejected, Unavailable, WaitTimeout
from client.records import Count, DeadLetter, Result, Stats, Steered, Stray, Submission, Summary, Task
from client.redrive import Outcome, Step, Tally, Wanted, redrive_many
from client.tasks import Submitted, TaskClient

__all__ = [
    "ApiError",
    "Conflict",
    "Count",
    "DeadLetter",
    "Forbidden",
    "NoApi",
    "NotFound",
    "Outcome",
    "Rejected",
    "Result",
    "Stats",
    "Steered",
    "Step",
    "Stray",
    "Submission",
    "Submitted",
    "Summary",
    "Tally",
    "Task",
    "TaskClient",
    "Unavailable",
    "WaitTimeout",
    "Wanted",
    "redrive_many",
]
