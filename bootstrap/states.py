"""What each state of a stack means after a failure, and what to type next. No calls here."""

from __future__ import annotations

from dataclasses import dataclass

NEVER_COMPLETED = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"})
"""Such a stack cannot be updated, only deleted and made anew (CloudFormation guide, "Stack status codes")."""


@dataclass(frozen=True, slots=True)
class Transient:
    """A failure that goes away by itself."""

    why: str
    seconds: float


QUEUE_NAME = Transient("SQS gives a deleted queue's name back after 60 s", 61)
NEW_ROLE = Transient("IAM has not told Lambda of a new role yet", 15)
NEW_POLICY = Transient("IAM has not told Lambda yet what a new role may do", 15)
THROTTLED = Transient("AWS throttles these calls", 30)
_TRANSIENTS = (
    ("queuedeletedrecently", QUEUE_NAME),
    ("wait 60 seconds after deleting a queue", QUEUE_NAME),
    ("cannot be assumed by lambda", NEW_ROLE),
    ("the provided execution role does not have permissions to call", NEW_POLICY),  # asked when a mapping is made
    ("rate exceeded", THROTTLED),
    ("throttling", THROTTLED),
)


def transient(reason: str) -> Transient | None:
    """Why waiting would help, from the reason that CloudFormation gives; None when it would not."""
    return next((found for words, found in _TRANSIENTS if words in reason.lower()), None)


def outcome(status: str | None) -> str:
    """What CloudFormation did about a failure."""
    return _OUTCOMES.get(status or "", f"CloudFormation left the stack in the state {status or 'unknown'}.")


_OUTCOMES = {
    "ROLLBACK_COMPLETE": "CloudFormation rolled back: what it had made is gone, an empty stack is left.",
    "ROLLBACK_FAILED": "CloudFormation could not roll back: a part of what it had made is left.",
    "CREATE_FAILED": "CloudFormation did not roll back: a part of what it had made is left.",
    "UPDATE_ROLLBACK_COMPLETE": "CloudFormation rolled back: all is as it was before.",
    "UPDATE_ROLLBACK_FAILED": "CloudFormation could not roll back: the stack is left between old and new.",
    "DELETE_FAILED": "CloudFormation left in the stack what would not go.",
}


def next_step(status: str | None, stack: str, region: str, again: str) -> str:
    """What to type; `again` is the command that deploys."""
    if status == "UPDATE_ROLLBACK_FAILED":
        return (
            f"Mend what the reason names, then type `aws cloudformation continue-update-rollback --stack-name {stack} "
            f"--region {region}` (`--resources-to-skip NAME` leaves out what cannot be mended), then `{again}`."
        )
    if status == "DELETE_FAILED":
        return "Mend what the reason names, then type the same again."
    if status in NEVER_COMPLETED:
        return f"Mend what the reason names, then type `{again}`: it deletes what is left and begins anew."
    return f"Mend what the reason names, then type `{again}`."
