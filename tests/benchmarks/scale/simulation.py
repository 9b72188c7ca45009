"""Arrivals -> queue -> pollers of the event source mapping -> batches worked on by threads -> done, event by event.

Pure and seeded. Times are in seconds. What AWS does is taken from its pages, where they say it:

- A mapping begins with 5 concurrent batches, and takes up to 300 more a minute while messages are left, to 1,000 or to
  MaximumConcurrency. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
- About 120,000 messages of a queue can be in flight, which is received and not deleted; one that waits for its next
  attempt by its visibility timeout is among them.
  https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html

What they do not say is simplified: a batch window gathers for one batch at a time, which is the best case for its fill;
pollers once there stay; messages come in the order in which they became visible.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from bootstrap import settings
from lambdas.common.retry import Backoff, Jitter

Duration = Callable[[random.Random], float]
"""Draws how long one attempt works."""

FIRST_POLLERS, POLLERS_A_MINUTE, MOST_POLLERS = 5, 300, 1000
MAX_IN_FLIGHT = 120_000


def fixed(seconds: float) -> Duration:
    return lambda rng: seconds


def exponential(mean: float) -> Duration:
    return lambda rng: rng.expovariate(1 / mean)


def constant(rate: float, seconds: float) -> Iterator[float]:
    """Arrivals at equal distances."""
    return (number / rate for number in range(round(rate * seconds)))


def poisson(rate: float, seconds: float, seed: int) -> Iterator[float]:
    rng, at = random.Random(seed), 0.0
    while (at := at + rng.expovariate(rate)) < seconds:
        yield at


WORK, DEFAULTS = fixed(1), settings.read({})
BACKOFF = Backoff(
    float(DEFAULTS.app["BackoffBaseSeconds"]),
    float(DEFAULTS.app["BackoffCapSeconds"]),
    cast("Jitter", DEFAULTS.app["BackoffJitter"]),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """The names and defaults are those of the project's settings (bootstrap/settings.py), where it has them."""

    work: Duration = WORK
    batch_size: int = int(DEFAULTS.app["BatchSize"])
    batch_window: float = int(DEFAULTS.app["BatchWindowSeconds"])
    batch_threads: int | None = None
    """None: as many as the batch has messages, as deployed."""
    max_concurrency: int = int(DEFAULTS.app["MaxConcurrency"])
    failure_rate: float = 0
    max_attempts: int = int(DEFAULTS.app["MaxRetries"]) + 1
    backoff: Backoff = BACKOFF
    max_receives: int = int(DEFAULTS.storage["MaxReceiveCount"])
    """A dead task's message comes back until it has been received so often; then SQS moves it."""
    overhead: float = 0
    """Of a batch beside its work: poll, invocation, the calls of claim and finish, answer."""
    cold_start: float = 0
    first_pollers: int = FIRST_POLLERS
    pollers_a_minute: float = POLLERS_A_MINUTE
    max_in_flight: int = MAX_IN_FLIGHT


@dataclass(frozen=True, slots=True)
class Spread:
    """Of seconds."""

    mean: float
    p50: float
    p95: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread:
        found = sorted(seconds)
        if not found:
            return cls(0, 0, 0, 0, 0)
        p50, p95, p99 = (found[max(0, math.ceil(part * len(found)) - 1)] for part in (0.5, 0.95, 0.99))
        return cls(sum(found) / len(found), p50, p95, p99, found[-1])


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to, from the first arrival until everything had ended."""

    tasks: int
    dead: int
    seconds: float
    """First arrival to last end."""
    waits: Spread
    """Arrival to the first attempt."""
    ages: Spread
    """Arrival to end."""
    attempts: int
    invocations: int
    deliveries: int
    concurrency_peak: int
    concurrency_mean: float
    """Over the time in which tasks arrived."""
    in_flight_peak: int
    backlog_at_end: int
    """Visible messages that nobody had received when the last task arrived."""
    backlog_growth: float
    """Of it a second, over the later half of the arrivals."""
    open_mean: float
    """Tasks that had arrived and not ended, over the whole run."""

    @property
    def throughput(self) -> float:
        return self.tasks / self.seconds if self.seconds else 0

    @property
    def fill(self) -> float:
        """Messages of a batch."""
        return self.deliveries / self.invocations if self.invocations else 0

    @property
    def invocations_a_task(self) -> float:
        return self.invocations / self.tasks if self.tasks else 0


def simulate(arrivals: Iterable[float], setting: Setting, seed: int = 0) -> Result:
    """Until the last task has ended. `arrivals` are in order."""
    run = _Run(setting, random.Random(seed), list(arrivals))
    run.go()
    return run.result()


@dataclass(slots=True, eq=False)
class _Message:
    arrived: float
    attempts: int = 0
    receives: int = 0
    started: float = -1
    ended: float = -1
    dead: bool = False


Event = Callable[[], None]


@dataclass(slots=True)
class _Run:
    """The state between two events."""

    setting: Setting
    rng: random.Random
    arrivals: Sequence[float]
    now: float = 0
    events: list[tuple[float, int, Event]] = field(default_factory=list)
    visible: deque[_Message] = field(default_factory=deque)
    messages: list[_Message] = field(default_factory=list)
    in_flight: int = 0
    busy: int = 0
    warm: int = 0
    pollers: float = 0
    scaling: bool = False
    gathering: int = 0
    """Counts the windows that were begun, so that a late end of one is known."""
    window_open: bool = False
    window_over: bool = False
    numbers: int = 0
    left: int = 0
    invocations: int = 0
    deliveries: int = 0
    attempts: int = 0
    busy_peak: int = 0
    in_flight_peak: int = 0
    busy_area: float = 0
    open_area: float = 0
    backlogs: list[int] = field(default_factory=list)
    """Visible messages at each arrival."""

    def go(self) -> None:
        self.pollers, self.left = self.setting.first_pollers, len(self.arrivals)
        if self.arrivals:
            self.now = self.arrivals[0]
            self._at(self.now, self._arrive)
        while self.events:
            at, _, event = heapq.heappop(self.events)
            self._pass_to(at)
            event()

    def _pass_to(self, at: float) -> None:
        """Areas under the curves, whose means are taken of them."""
        self.open_area += (at - self.now) * (len(self.messages) + self.left - len(self.arrivals))
        if len(self.messages) < len(self.arrivals):
            self.busy_area += (at - self.now) * self.busy
        self.now = at

    def _at(self, at: float, event: Event) -> None:
        self.numbers += 1
        heapq.heappush(self.events, (at, self.numbers, event))

    def _arrive(self) -> None:
        """All that come at this moment, then the next one is waited for."""
        while len(self.messages) < len(self.arrivals) and self.arrivals[len(self.messages)] <= self.now:
            self.backlogs.append(len(self.visible))
            self.messages.append(_Message(self.now))
            self.visible.append(self.messages[-1])
        if len(self.messages) < len(self.arrivals):
            self._at(self.arrivals[len(self.messages)], self._arrive)
        self._poll()

    def _poll(self) -> None:
        """Hand out batches while there are messages and somebody to take them."""
        while self.visible and self.busy < self._allowed() and self.in_flight < self.setting.max_in_flight:
            if not self._batch_is_due():
                return
            self._invoke()
        if self.visible and not self.scaling and self.pollers < self._cap():
            self.scaling = True
            self._at(self.now + 1, self._scale)

    def _cap(self) -> int:
        return min(self.setting.max_concurrency, MOST_POLLERS)

    def _allowed(self) -> int:
        return min(self._cap(), int(self.pollers))

    def _scale(self) -> None:
        """A second later, with messages left: some more pollers."""
        self.scaling = False
        if self.visible:
            self.pollers = min(self._cap(), self.pollers + self.setting.pollers_a_minute / 60)
            self._poll()

    def _batch_is_due(self) -> bool:
        """Whether the window is over, or need not be waited for. Begins one where none is open."""
        if not self.setting.batch_window or self.window_over or len(self.visible) >= self.setting.batch_size:
            return True
        if not self.window_open:
            self.window_open, self.gathering = True, self.gathering + 1
            self._at(self.now + self.setting.batch_window, partial(self._end_window, self.gathering))
        return False

    def _end_window(self, number: int) -> None:
        if self.window_open and number == self.gathering:
            self.window_over = True
            self._poll()

    def _invoke(self) -> None:
        self.window_open = self.window_over = False
        room = self.setting.max_in_flight - self.in_flight
        batch = [self.visible.popleft() for _ in range(min(self.setting.batch_size, len(self.visible), room))]
        begins = self.now + self.setting.overhead
        if self.warm:
            self.warm -= 1
        else:
            begins += self.setting.cold_start
        self.busy, self.in_flight = self.busy + 1, self.in_flight + len(batch)
        self.busy_peak, self.in_flight_peak = max(self.busy_peak, self.busy), max(self.in_flight_peak, self.in_flight)
        self.invocations, self.deliveries = self.invocations + 1, self.deliveries + len(batch)
        waits, ends = self._work_through(batch, begins)
        self._at(ends, partial(self._answer, batch, waits))

    def _work_through(self, batch: Sequence[_Message], begins: float) -> tuple[list[float | None], float]:
        """How long each is hidden afterwards (None: deleted), and when the last one is through."""
        threads = [begins] * min(self.setting.batch_threads or len(batch), len(batch))
        waits = []
        for message in batch:
            at = heapq.heappop(threads)
            end = at if message.dead else at + self.setting.work(self.rng)
            message.receives += 1
            waits.append(self._attempt(message, at, end))
            heapq.heappush(threads, end)
        return waits, max(threads)

    def _attempt(self, message: _Message, at: float, end: float) -> float | None:
        if message.dead:
            return 0
        message.attempts, self.attempts = message.attempts + 1, self.attempts + 1
        if message.started < 0:
            message.started = at
        fails = self.rng.random() < self.setting.failure_rate
        if fails and message.attempts < self.setting.max_attempts:
            return float(math.ceil(self.setting.backoff.wait_seconds(message.attempts, self.rng)))
        message.ended, message.dead = end, fails
        self._at(end, self._end)
        return 0 if fails else None

    def _end(self) -> None:
        self.left -= 1

    def _answer(self, batch: Sequence[_Message], waits: Sequence[float | None]) -> None:
        """The batch is through: what is done with leaves the queue, what failed stays in flight until it is visible."""
        self.busy, self.warm = self.busy - 1, self.warm + 1
        for message, wait in zip(batch, waits, strict=True):
            if wait is None or (message.dead and message.receives >= self.setting.max_receives):
                self.in_flight -= 1
            else:
                self._at(self.now + wait, partial(self._reappear, message))
        self._poll()

    def _reappear(self, message: _Message) -> None:
        self.in_flight -= 1
        self.visible.append(message)
        self._poll()

    def result(self) -> Result:
        first, last = (self.arrivals[0], self.arrivals[-1]) if self.arrivals else (0.0, 0.0)
        seconds = max((message.ended for message in self.messages), default=first) - first
        half = len(self.arrivals) // 2
        later = last - self.arrivals[half] if self.arrivals else 0.0
        return Result(
            tasks=len(self.messages),
            dead=sum(message.dead for message in self.messages),
            seconds=seconds,
            waits=Spread.of(message.started - message.arrived for message in self.messages),
            ages=Spread.of(message.ended - message.arrived for message in self.messages),
            attempts=self.attempts,
            invocations=self.invocations,
            deliveries=self.deliveries,
            concurrency_peak=self.busy_peak,
            concurrency_mean=self.busy_area / (last - first) if last > first else 0,
            in_flight_peak=self.in_flight_peak,
            backlog_at_end=self.backlogs[-1] if self.backlogs else 0,
            backlog_growth=(self.backlogs[-1] - self.backlogs[half]) / later if later else 0,
            open_mean=self.open_area / seconds if seconds else 0,
        )
