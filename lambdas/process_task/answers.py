"""What the answer to a webhook means for its task. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from lambdas.common.kinds import JsonObject
from lambdas.common.retry import PermanentError, RetryAfter
from lambdas.process_task.attempt import MAX_WAIT_SECONDS
from lambdas.process_task.destinations import Url, pointed_at

PASSES = frozenset({408, 425, 429})
"""Of 4xx those that another attempt may not get: RFC 9110 and RFC 8470 (408, 425), RFC 6585 (429)."""
MAX_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    bytes: int
    """Read of the body: of a long one, its beginning."""
    retry_after: str | None = None
    location: str | None = None


class Redirected(PermanentError):
    """The receiver points elsewhere: to follow it would be to send to an address that nobody chose."""


class NotAccepted(PermanentError):
    """The receiver will not take this request, however often it comes."""


class NotNow(Exception):
    """The receiver could not take the request; another attempt may succeed."""


def verdict(answer: Answer, url: Url, now_seconds: float) -> JsonObject:
    """The result of the task.

    Raises:
        PermanentError, RetryAfter, NotNow: the attempt has failed.
    """
    told = f"{url.origin} answered {answer.status}"
    if 200 <= answer.status < 300:
        return {"status": answer.status, "bytes": answer.bytes}
    if 300 <= answer.status < 400:
        where = f", to {pointed_at(url, answer.location)}" if answer.location else ""
        raise Redirected(f"{told}{where}; redirects are not followed")
    wait = wait_seconds(answer.retry_after, now_seconds)
    if wait is not None:
        raise RetryAfter(told, wait)
    if 400 <= answer.status < 500 and answer.status not in PASSES:
        raise NotAccepted(told)
    raise NotNow(told)


def wait_seconds(retry_after: str | None, now_seconds: float) -> float | None:
    """Of a Retry-After header (RFC 9110, section 10.2.3: seconds, or a date), within what a task can wait.

    None when there is none, or none that can be read.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0") or "0"
        return float(min(MAX_WAIT_SECONDS, int(digits))) if len(digits) <= MAX_DIGITS else float(MAX_WAIT_SECONDS)
    try:
        due = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # All three forms of a date in HTTP are in GMT; one of them does not say so.
    seconds = due.replace(tzinfo=due.tzinfo or UTC).timestamp() - now_seconds
    return max(0.0, min(float(MAX_WAIT_SECONDS), seconds))
