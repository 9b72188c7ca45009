"""Submit tasks and wait for them, from Python."""

from client.tasks import (
    ApiError,
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
    Submitted,
    Task,
    TaskClient,
    Unavailable,
    WaitTimeout,
)

__all__ = [
    "ApiError",
    "Conflict",
    "Forbidden",
    "NotFound",
    "Rejected",
    "Submitted",
    "Task",
    "TaskClient",
    "Unavailable",
    "WaitTimeout",
]
