"""Every phase that is measured, and the differences between them that say what a guarantee costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lambdas.common import aws
from lambdas.common.minute_table import MinuteTable
from lambdas.common.minutes import minute_of
from scripts.cost import capacity
from scripts.cost.capacity import Item
from scripts.cost.designs import Design, Fails, OriginalDesign, OurDesign, payloads_inline
from scripts.cost.lab import BATCH, TOGETHER, Lab
from scripts.cost.meter import Usage
from scripts.cost.original import MAX_ATTEMPTS

SMALL = "100 B"
PAYLOADS = {
    SMALL: {"text": "x" * 100},
    "600 B": {"text": "x" * 600},
    "1 KB": {"text": "x" * 1000},
    "10 KB": {"text": "x" * 10_000},
    "200 KB": {"text": "x" * 200_000},
}
LARGER = ("600 B", "1 KB", "10 KB", "200 KB")
APART = ("10 KB", "200 KB")
"""Payloads that our design keeps in an item of their own."""
OPEN_TASKS = 1000
FIELDS = {
    "the task, as in the original": (
        *("taskId", "PK", "SK", "kind", "status", "attempts", "createdAt", "updatedAt", "payload", "result", "error"),
    ),
    "fencing token, generation, lease, message": ("token", "generation", "leaseUntil", "messageId"),
    "keys of the index": ("classShard", "classSort"),
    "re-sending": ("sentAt", "sends"),
    "same id, same body": ("bodyHash",),
    "timeline": ("timeline",),
    "limits, version, expiry": ("maxAttempts", "nextAttemptAt", "v", "expiresAt"),
}
"""Attributes of the state row, by what they are for."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one task used, or what it used more than another."""

    what: str
    how: str
    """The design, or which measurements were subtracted."""
    usage: Usage


@dataclass(frozen=True, slots=True)
class Death:
    """What a task used that failed in all its attempts."""

    attempts: Usage
    """Submit and attempts."""
    carried: Usage
    """Receives that SQS wants before it moves the message."""
    recorded: Usage
    """The DLQ monitor."""

    @property
    def all(self) -> Usage:
        return self.attempts + self.carried + self.recorded


class Bench:
    """Runs each phase for ten tasks. What the designs do around it passes uncounted."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.fails = lab, Fails()
        self.original = OriginalDesign(lab, self.fails)
        self.ours = OurDesign(lab, self.fails)
        self.unindexed = OurDesign(lab, self.fails, "ours without the index", indexed=False)
        self.inline = OurDesign(lab, self.fails, "ours, payload in the row")
        self.dead: dict[str, list[str]] = {}
        """Ids of our dead tasks, by payload."""
        self._deaths: dict[tuple[str, str], Death] = {}

    @property
    def both(self) -> tuple[Design, Design]:
        return self.original, self.ours

    def task(self, design: Design, payload: str = SMALL, failures: int = 0) -> Usage:
        """Submit to COMPLETED, the first attempts failing. Measured once, however often it is asked for."""
        phase = f"{design.name}, {payload}, {failures} failures"
        if phase not in self.lab.meter.phases:
            with self.lab.meter.phase(phase):
                self._completed(design, failures, payload)
        return self._per_task(phase)

    def submits(self) -> Usage:
        """Of one task that is submitted for itself."""
        with self.lab.meter.phase("ours, submitted alone"):
            ids = [self.ours.submit(PAYLOADS[SMALL]) for _ in range(BATCH)]
        self._work_off(ids)
        return self._per_task("ours, submitted alone")

    def submits_together(self) -> Usage:
        """Of one task that is submitted with others, TOGETHER of them in one request."""
        with self.lab.meter.phase("ours, submitted together"):
            ids = self.ours.submit_together([PAYLOADS[SMALL]] * TOGETHER)
        self._work_off(ids)
        return self.lab.meter.phases["ours, submitted together"].per(TOGETHER)

    def _work_off(self, ids: list[str]) -> None:
        self.fails.attempts = 0
        for _ in range(0, len(ids), BATCH):
            self.ours.poll()
        _check(self.ours, ids, "COMPLETED")

    def minute(self) -> Usage:
        """What one invocation of ProcessTask counts for GET /stats, however many tasks it had."""
        minutes = MinuteTable(self.lab.metered_dynamodb, self.ours.table)
        with self.lab.meter.phase("minute"):
            minutes.add(minute_of(aws.now_ms(), BATCH, 0, 0, [1000] * BATCH))
        return self.lab.meter.phases["minute"]

    def inline_task(self, payload: str, failures: int = 0) -> Usage:
        with payloads_inline():
            return self.task(self.inline, payload, failures)

    def retry(self, design: Design, payload: str = SMALL, number: int = 1) -> Usage:
        """A failed attempt and the next claim: what a task with one more of them used more."""
        return self.task(design, payload, number) - self.task(design, payload, number - 1)

    def death(self, design: Design, payload: str = SMALL) -> Death:
        """Measured once, however often it is asked for."""
        key = design.name, payload
        if key not in self._deaths:
            self._deaths[key] = self._died(design, payload)
        return self._deaths[key]

    def _died(self, design: Design, payload: str) -> Death:
        self.fails.attempts, phase, meter = MAX_ATTEMPTS, f"{design.name}, {payload}, dies", self.lab.meter
        with meter.phase(f"{phase}, attempts"):
            ids = [design.submit(PAYLOADS[payload]) for _ in range(BATCH)]
            for _ in range(MAX_ATTEMPTS):
                records = design.poll()
        with meter.phase(f"{phase}, carried"):
            records = design.carry() or records
        design.move(records)
        with meter.phase(f"{phase}, recorded"):
            design.monitor()
        _check(design, ids, "FAILED_FINAL")
        if design is self.ours:
            self.dead[payload] = ids
        return Death(
            self._per_task(f"{phase}, attempts"),
            self._per_task(f"{phase}, carried"),
            self._per_task(f"{phase}, recorded"),
        )

    def duplicate(self, design: Design) -> Usage:
        """One more delivery of a COMPLETED task."""
        ids = self._completed(design)
        design.copy(ids)
        with self.lab.meter.phase(f"{design.name}, duplicate"):
            design.poll()
        _check(design, ids, "COMPLETED")
        return self._per_task(f"{design.name}, duplicate")

    def repeated_submit(self, design: Design) -> Usage:
        ids = self._completed(design)
        with self.lab.meter.phase(f"{design.name}, submitted again"):
            for task_id in ids:
                design.again(PAYLOADS[SMALL], task_id)
        return self._per_task(f"{design.name}, submitted again")

    def replay(self, payload: str = SMALL) -> Usage:
        """Of the tasks that died of `death`."""
        ids = self.dead.pop(payload)
        with self.lab.meter.phase(f"replay, {payload}"):
            for task_id in ids:
                self.ours.replay(task_id)
        self.fails.attempts = 0
        self.ours.poll()
        _check(self.ours, ids, "COMPLETED")
        return self._per_task(f"replay, {payload}")

    def cancel(self) -> tuple[Usage, Usage]:
        """The cancel itself; the delivery of the message that is left behind."""
        ids = [self.ours.submit(PAYLOADS[SMALL]) for _ in range(BATCH)]
        with self.lab.meter.phase("cancel"):
            for task_id in ids:
                self.ours.cancel(task_id)
        with self.lab.meter.phase("left message"):
            self.ours.poll()
        _check(self.ours, ids, "CANCELLED")
        return self._per_task("cancel"), self._per_task("left message")

    def transfer(self, kind: str) -> Usage:
        """A good task that moves money between two accounts of its own."""
        self.fails.attempts, self.ours.kind = 0, kind
        pairs = [(f"source-{number}", f"target-{number}") for number in range(BATCH)]
        self.ours.open_accounts([name for pair in pairs for name in pair])
        with self.lab.meter.phase(kind):
            ids = [self.ours.submit({"source": source, "target": target, "amount": 1}) for source, target in pairs]
            self.ours.poll()
        self.ours.kind = "simulated"
        _check(self.ours, ids, "COMPLETED")
        return self._per_task(kind)

    def idle_sweep(self) -> Usage:
        """A whole run that finds nothing open."""
        with self.lab.meter.phase("idle sweep"):
            assert OurDesign(self.lab, self.fails).sweep().examined == 0
        return self.lab.meter.phases["idle sweep"]

    def sweeps(self) -> tuple[Usage, Usage]:
        """An idle one, and one over OPEN_TASKS healthy tasks."""
        idle, swept, meter = self.idle_sweep(), OurDesign(self.lab, self.fails), self.lab.meter
        swept.plant(OPEN_TASKS)
        with meter.phase("sweep"):
            healed = swept.sweep()
        assert (healed.examined, healed.resent, healed.failed) == (OPEN_TASKS, 0, 0)
        return idle, meter.phases["sweep"]

    def one_transaction(self, payload: str) -> Usage:
        """What it adds that a long payload and its row are written in one transaction."""
        # A design of its own: what is submitted here is never worked on.
        apart, together, separate = OurDesign(self.lab, self.fails), f"{payload}, together", f"{payload}, in two puts"
        with self.lab.meter.phase(together):
            for _ in range(BATCH):
                apart.submit(PAYLOADS[payload])
        with self.lab.meter.phase(separate):
            for _ in range(BATCH):
                apart.create_in_two_puts(PAYLOADS[payload])
        return self._per_task(together) - self._per_task(separate)

    def payload_expiry(self, payload: str) -> Usage:
        """What it adds that a long payload expires with its task, by the plainest write there is."""
        apart, phase = OurDesign(self.lab, self.fails), f"{payload}, expires"
        ids = [apart.submit(PAYLOADS[payload]) for _ in range(BATCH)]
        with self.lab.meter.phase(phase):
            for task_id in ids:
                apart.let_payload_expire(task_id)
        return self._per_task(phase)

    def rows(self) -> dict[str, dict[str, int]]:
        """Bytes of a state row, by what they are for, at some moments of a task with a payload of 100 B."""
        found = {"original, completed": self.original.item(self._completed(self.original)[0])}
        found["ours, running"] = OurDesign(self.lab, self.fails).claimed_row(PAYLOADS[SMALL])
        for retries in (0, 2):
            ids = self._completed(self.ours, retries)
            found[f"ours, completed, {retries} retries"] = self.ours.item(ids[0])
        return {moment: bytes_by_purpose(item) for moment, item in found.items()}

    def _completed(self, design: Design, failures: int = 0, payload: str = SMALL) -> list[str]:
        self.fails.attempts = failures
        ids = [design.submit(PAYLOADS[payload]) for _ in range(BATCH)]
        for _ in range(failures + 1):
            design.poll()
        _check(design, ids, "COMPLETED")
        return ids

    def _per_task(self, phase: str) -> Usage:
        return self.lab.meter.phases[phase].per(BATCH)


def _check(design: Design, ids: list[str], status: str) -> None:
    found = {design.status(task_id) for task_id in ids}
    assert found == {status}, f"{design.name}: {found} instead of {status}"


def bytes_by_purpose(item: Item) -> dict[str, int]:
    known = {name for names in FIELDS.values() for name in names}
    assert set(item) <= known, f"attributes that FIELDS does not name: {set(item) - known}"
    return {
        purpose: capacity.item_bytes({name: item[name] for name in names if name in item})
        for purpose, names in FIELDS.items()
    }


@dataclass(frozen=True)
class Measured:
    phases: list[Line]
    guarantees: list[Line]
    idle_sweep: Usage
    rows: Mapping[str, Mapping[str, int]]


def measure(lab: Lab) -> Measured:
    bench = Bench(lab)
    deaths = {design.name: bench.death(design) for design in bench.both}
    duplicates = {design.name: bench.duplicate(design) for design in bench.both}
    transfer, unguarded = bench.transfer("transfer"), bench.transfer("unguarded transfer")
    idle, sweep = bench.sweeps()
    cancel, left = bench.cancel()
    phases = [
        *_beside(bench, deaths, duplicates),
        Line("replay of a dead task", "ours", bench.replay()),
        *(Line("dead task, payload 200 KB", design.name, bench.death(design, "200 KB").all) for design in bench.both),
        Line("replay of a dead task, payload 200 KB", "ours", bench.replay("200 KB")),
        Line("cancel of an open task", "ours", cancel),
        Line("delivery of a cancelled task's message", "ours", left),
        Line("good task with two effects (transfer)", "ours", transfer),
        Line(f"sweeper, each of {OPEN_TASKS:,} healthy open tasks", "ours", sweep.per(OPEN_TASKS)),
        Line("sweeper, a run with nothing open", "ours", idle),
    ]
    guarantees = [
        *on_every_task(bench),
        *on_trouble(deaths, duplicates),
        Line("effects exactly once (two effects)", "transfer - the same by two plain updates", transfer - unguarded),
        *_for_long_payloads(bench),
    ]
    return Measured(phases, guarantees, idle, bench.rows())


def _beside(bench: Bench, deaths: Mapping[str, Death], duplicates: Mapping[str, Usage]) -> Iterator[Line]:
    """The original and ours, line by line."""
    for design in bench.both:
        yield Line("good task, submit to COMPLETED", design.name, bench.task(design))
    for number in (1, 2):
        for design in bench.both:
            yield Line(f"retry {number}: failed attempt, next claim", design.name, bench.retry(design, number=number))
    for design in bench.both:
        yield Line("dead task, submit to the end", design.name, deaths[design.name].all)
    for design in bench.both:
        instead = deaths[design.name].all - bench.task(design, failures=MAX_ATTEMPTS - 1)
        yield Line("death instead of COMPLETED", design.name, instead)
    for design in bench.both:
        yield Line("duplicate delivery of a COMPLETED task", design.name, duplicates[design.name])
    for design in bench.both:
        yield Line("submit repeated", design.name, bench.repeated_submit(design))
    for payload in LARGER:
        for design in bench.both:
            yield Line(f"good task, payload {payload}", design.name, bench.task(design, payload))
    for payload in LARGER:
        for design in bench.both:
            yield Line(f"retry 1, payload {payload}", design.name, bench.retry(design, payload))


def on_every_task(bench: Bench) -> Iterator[Line]:
    indexed = bench.task(bench.ours) - bench.task(bench.unindexed)
    yield Line("index by class: sweeper, listing", "good task - the same without the index", indexed)
    for payload in (SMALL, "600 B", "1 KB"):
        what = f"conditions, token, lease, timeline; payload {payload}"
        more = bench.task(bench.unindexed, payload) - bench.task(bench.original, payload)
        yield Line(what, "good task without the index - original", more)
    retried = bench.retry(bench.ours) - bench.retry(bench.original)
    yield Line("conditions, token, lease, timeline; a retry, 100 B", "retry - retry of the original", retried)


def on_trouble(deaths: Mapping[str, Death], duplicates: Mapping[str, Usage]) -> Iterator[Line]:
    less = duplicates["ours"] - duplicates["original"]
    yield Line("a duplicate changes nothing", "duplicate - duplicate in the original", less)
    ours, original = deaths["ours"], deaths["original"]
    yield Line("dead task, to its last attempt", "attempts - the original's", ours.attempts - original.attempts)
    yield Line("lost receives burn no attempt", "receives of a dead task beyond its attempts", ours.carried)
    yield Line(
        "dead letter recorded, replay possible", "DLQ monitor - the original's", ours.recorded - original.recorded
    )


def _for_long_payloads(bench: Bench) -> Iterator[Line]:
    for payload in APART:
        whole = bench.task(bench.ours, payload) - bench.inline_task(payload)
        yield Line(f"payload of {payload} apart, good task", "good task - the same, payload in the row", whole)
        yield Line("  of it: in one transaction", "submit - the same by two puts", bench.one_transaction(payload))
        yield Line("  of it: expires with the task", "the one call", bench.payload_expiry(payload))
        inline = bench.inline_task(payload, 1) - bench.inline_task(payload)
        how = "retry - the same, payload in the row"
        yield Line(f"payload of {payload} apart, a retry", how, bench.retry(bench.ours, payload) - inline)
