"""Read CloudWatch Logs: everything since a time, then what is new, each event once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from botocore.exceptions import ClientError

from bootstrap.aws_account import THROTTLED_CODES

PAGE = 10_000
"""Most events that FilterLogEvents returns at once. MiniStack cuts there and names no next page."""
NEAR_MS = 10_000
LATE_MS = 300_000
LATE_EVERY_MS = 30_000
"""CloudWatch hands out events out of order, and some late. Each look goes back by NEAR_MS behind the look before, and
twice a minute one goes back by LATE_MS. What comes even later is not found."""
THROTTLED_SECONDS = (1.0, 30.0)
"""First and longest wait when the SDK's own retries are used up: 5 requests a second are the account's in most regions
(CloudWatch Logs quotas, FilterLogEvents), for everyone together."""


@dataclass(frozen=True, slots=True)
class Event:
    at: int
    """Milliseconds; when CloudWatch took it for written."""
    group: str
    stream: str
    message: str


@dataclass(frozen=True)
class Source:
    """The log groups to read; `pattern`, when given, is what CloudWatch itself picks events by."""

    logs: Any
    groups: Sequence[str]
    pattern: str | None = None
    wait: Callable[[float], None] = time.sleep
    complain: Callable[[str], None] = lambda _: None

    def read(self, since_ms: int) -> list[Event]:
        """Everything that was logged since then, by time."""
        found = [event for group in self.groups for event in self._of_group(group, since_ms)]
        return sorted(found, key=lambda event: event.at)

    def _of_group(self, group: str, since_ms: int) -> list[Event]:
        found: list[Event] = []
        while True:
            events = self._pages(group, since_ms)
            # The last moment is read again below: its events may lie on both sides of the cut.
            cut = events[-1].at if len(events) >= PAGE and len(events) % PAGE == 0 else None
            if cut is None or cut == since_ms:
                return found + events
            found += [event for event in events if event.at < cut]
            since_ms = cut

    def _pages(self, group: str, since_ms: int) -> list[Event]:
        asked: dict[str, Any] = {"logGroupName": group, "startTime": since_ms}
        if self.pattern:
            asked["filterPattern"] = self.pattern
        found: list[Event] = []
        while True:
            page = self._page(asked)
            found += [Event(e["timestamp"], group, e["logStreamName"], e["message"]) for e in page["events"]]
            if not page.get("nextToken"):
                return sorted(found, key=lambda event: event.at)
            asked["nextToken"] = page["nextToken"]

    def _page(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        seconds, longest = THROTTLED_SECONDS
        while True:
            try:
                page: Mapping[str, Any] = self.logs.filter_log_events(**asked)
                return page
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "ResourceNotFoundException":  # its function has never run on a target that makes groups late
                    return {"events": []}
                if code not in THROTTLED_CODES:
                    raise
            self.complain(f"CloudWatch Logs throttles these calls; going on in {seconds:g} s. Nothing is lost.")
            self.wait(seconds)
            seconds = min(longest, seconds * 2)


@dataclass
class Window:
    """What following has read, so that it reads no further back than needed and shows no event twice.

    Neither the time nor the text of an event is its own, and the emulators give no ids: of equal ones each is told by
    its number among them. All of them have one time, so a look sees all that are there, or none.
    """

    first: int
    """Nothing from before this is wanted."""
    near: int | None = None
    late: int | None = None
    """When the last look began; when the last one began that went back by LATE_MS."""
    seen: set[tuple[Event, int]] = field(default_factory=set)

    def since(self, began: int) -> int:
        """From when on a look that begins now must read."""
        if self.near is None or self.late is None:
            return self.first
        return max(self.first, self.late - LATE_MS if self._late_due(began) else self.near - NEAR_MS)

    def fresh(self, began: int, events: Sequence[Event]) -> list[Event]:
        """What of the events of a look is new."""
        count: Counter[Event] = Counter()
        new = []
        for event in events:
            count[event] += 1
            if (event, count[event]) not in self.seen:
                new.append(event)
        self.seen.update((event, number + 1) for event, most in count.items() for number in range(most))
        self._looked(began)
        return new

    def _looked(self, began: int) -> None:
        self.near = began
        if self._late_due(began):
            self.late = began
            self.seen = {(event, number) for event, number in self.seen if event.at >= began - LATE_MS}

    def _late_due(self, began: int) -> bool:
        return self.late is None or began - self.late >= LATE_EVERY_MS


def follow(source: Source, since_ms: int, now: Callable[[], int], pause: float) -> Iterator[list[Event]]:
    """What was logged since then, and from then on what is new, look by look, without end."""
    window = Window(since_ms)
    while True:
        began = now()
        yield window.fresh(began, source.read(window.since(began)))
        source.wait(pause)


def for_task(source: Source, task_id: str) -> Source:
    """Only what holds the id: CloudWatch picks by the phrase, and the reader by the field."""
    return replace(source, pattern=f'"{task_id}"')
