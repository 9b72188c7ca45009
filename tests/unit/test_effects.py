"""Effects: what the work of a task writes is written once with its completion, or not at all."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from lambdas.common import transitions
from lambdas.common.effects import MAX_EFFECTS, Effect, Effects, check, delete, put, update
from lambdas.common.kinds import Registry, Work
from lambdas.common.retry import Backoff, PermanentError, RetryAfter
from lambdas.common.rows import INLINE_PAYLOAD_BYTES
from lambdas.common.store import TaskStore
from lambdas.common.task import Message, Status, Task
from lambdas.process_task.attempt import LEASE_MARGIN_MS, Delivery, Outcome, Worker
from tests.support.dynamodb import TABLE, FakeDynamoDB
from tests.support.faults import Between, LostAnswer
from tests.support.tasks import NOW, SECOND, TASK_ID, Clock, Tokens, a_task, planted

DELIVERY = Delivery(Message(TASK_ID, 1), "message-1", 1)
COPY = Delivery(Message(TASK_ID, 1), "message-2", 1)
DEADLINE = NOW + 25 * SECOND
STALE = Outcome("stale worker: the task has gone on without it", TASK_ID, False, None, 1)
LONG = '{"text": "%s"}' % ("x" * INLINE_PAYLOAD_BYTES)

ANN = {"account": "ann"}
PAID = {"paid": 1}
Run = Callable[[Work], Any]


def deposit(table: str = "accounts", **more: Any) -> Effect:
    return update(table, ANN, "ADD balance :one", values={":one": 1}, **more)


def paying(*effects: Effect) -> Run:
    """Work that declares a deposit and these."""
    return lambda work: Effects([deposit(), *effects], PAID)


def missing(error: Exception | None = None) -> Effect:
    """An effect whose condition does not hold."""
    return delete("accounts", {"account": "bob"}, condition="attribute_exists(account)", refused=error)


class World:
    """A task, the tables that its effects are written to, and workers whose clock moves while they wait."""

    def __init__(self, run: Run, payload: str = "{}", **limits: Any) -> None:
        self.client = FakeDynamoDB(TABLE, {"dev-accounts": ("account",), "dev-other": ("account",)})
        self.store = TaskStore(self.client, TABLE, "dev-")  # type: ignore[arg-type]  # a fake client
        self.clock = Clock()
        self.waits: list[float] = []
        self.runs = 0
        self._run, self._limits = run, limits
        self._tokens = Tokens()
        planted(self.store, a_task()) if payload == "{}" else self.store.create(a_task(), payload, NOW)

    def worker(self, client: object = None, run: Run | None = None) -> Worker:
        registry, work = Registry(), run or self._run

        @registry.kind("simulated", schema={}, tables=("accounts",), **self._limits)
        def counted(task: Work) -> Any:
            self.runs += 1
            return work(task)

        store = TaskStore(client or self.client, TABLE, "dev-")  # type: ignore[arg-type]  # a fake client
        backoff, rng = Backoff(5, 900, "none"), random.Random(1)
        return Worker(store, registry, backoff, 30 * 86_400, self.clock, self._tokens, rng, self._sleep)

    def deliver(self, delivery: Delivery = DELIVERY, client: object = None, deadline: int = DEADLINE) -> Outcome:
        return self.worker(client).deliver(delivery, deadline)

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(round(seconds * 1000))

    @property
    def row(self) -> Task:
        row = self.store.get(TASK_ID)
        assert row is not None
        return row

    @property
    def balance(self) -> int:
        found = self.client.get_item(TableName="dev-accounts", Key={"account": {"S": "ann"}})
        return int(found["Item"]["balance"]["N"]) if found else 0


# Declared. ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effects", "tables", "problem"),
    [
        ([], (), None),
        ([deposit()], ("accounts",), None),
        ([deposit()] * MAX_EFFECTS, ("accounts", "other"), None),
        ([deposit()] * (MAX_EFFECTS + 1), ("accounts",), "100 effects; at most 99 fit into one transaction"),
        ([deposit()], (), "effects on accounts, which the kind does not list in its tables"),
        (
            [deposit("b"), deposit("a"), deposit("b"), deposit("accounts")],
            ("accounts",),
            "effects on a, b, which the kind does not list in its tables",
        ),
    ],
    ids=["none", "one", "the most", "too many", "no table listed", "two of three tables not listed"],
)
def test_what_keeps_effects_from_being_committed_is_told(
    effects: list[Effect], tables: tuple[str, ...], problem: str | None
) -> None:
    assert Effects(effects).problem(tables) == problem


def test_an_effect_keeps_what_it_was_made_of() -> None:
    item = {"account": "ann"}
    made = put("accounts", item, condition="a < :b", names={"#n": "n"}, values={":b": 1})
    item["account"] = "changed later"
    assert (made.action, made.item, made.expression, made.condition) == ("Put", ANN, None, "a < :b")
    assert (made.names, made.values) == ({"#n": "n"}, {":b": 1})


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (put("accounts", ANN, condition="a = b"), "the condition of the Put on accounts did not hold: a = b"),
        (update("t", ANN, "ADD a :b", condition="a = b"), "the condition of the Update on t did not hold: a = b"),
        (delete("t", ANN, condition="a = b"), "the condition of the Delete on t did not hold: a = b"),
        (check("t", ANN, "a = b"), "the condition of the ConditionCheck on t did not hold: a = b"),
    ],
    ids=["put", "update", "delete", "check"],
)
def test_an_effect_that_declares_no_error_has_a_permanent_one_that_names_table_and_condition(
    effect: Effect, error: str
) -> None:
    assert isinstance(effect.refused, PermanentError)
    assert str(effect.refused) == error


# Completed. -----------------------------------------------------------------------------------------------------------


def test_work_that_returns_effects_completes_with_them_and_its_result() -> None:
    world = World(paying(check("accounts", {"account": "bob"}, "attribute_not_exists(account)")))
    outcome = world.deliver()
    assert outcome == Outcome("task completed", TASK_ID, True, attempt=1, kind="simulated", age_ms=0)
    assert (world.row.status, world.row.result, world.balance) == (Status.COMPLETED, '{"paid": 1}', 1)


@pytest.mark.parametrize("items", [(), (deposit(),)], ids=["no effects", "an effect"])
def test_effects_need_no_result_and_a_result_needs_no_effects(items: tuple[Effect, ...]) -> None:
    world = World(lambda work: Effects(items))
    assert world.deliver().event == "task completed"
    assert (world.row.status, world.row.result, world.balance) == (Status.COMPLETED, None, len(items))


def test_a_long_payload_expires_with_a_task_that_had_effects() -> None:
    world = World(paying(), payload=LONG)
    assert world.deliver().event == "task completed"
    item = world.client.get_item(TableName=TABLE, Key={"PK": {"S": f"T#{TASK_ID}"}, "SK": {"S": "P"}})["Item"]
    assert item["expiresAt"] == {"N": str(world.row.expires_at_seconds)}


@pytest.mark.parametrize("result", [{"x": "y" * 4096}, {"x": object()}, [1]], ids=["too long", "no JSON", "no object"])
def test_a_result_that_cannot_be_kept_is_permanent_and_keeps_the_effects_from_being_written(result: Any) -> None:
    world = World(lambda work: Effects([deposit()], result))
    assert world.deliver().event == "task dead"
    assert (world.row.error or "").startswith("PermanentError: the result")
    assert world.balance == 0


def test_a_result_of_just_the_largest_size_is_kept_beside_effects() -> None:
    world = World(lambda work: Effects([deposit()], {"x": "y" * (4096 - len('{"x": ""}'))}))
    assert world.deliver().event == "task completed"
    assert (len(world.row.result or ""), world.balance) == (4096, 1)


def test_a_message_that_comes_again_after_effects_does_not_write_them_again() -> None:
    world = World(paying())
    for delivery in (DELIVERY, DELIVERY, COPY):
        world.deliver(delivery)
    assert (world.runs, world.balance) == (1, 1)


# Refused. -------------------------------------------------------------------------------------------------------------


class NotEnough(PermanentError):
    """As a kind would declare it."""


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (NotEnough("no money"), ("task dead", 0, Status.FAILED_FINAL), "NotEnough: no money"),
        (ValueError("not yet"), ("task failed", 5, Status.FAILED_PENDING), "ValueError: not yet"),
        (RetryAfter("later", 7), ("task failed", 7, Status.FAILED_PENDING), "RetryAfter: later"),
        (RetryAfter("much later", 1000), ("task parked", None, Status.FAILED_PENDING), "RetryAfter: much later"),
        (
            None,
            ("task dead", 0, Status.FAILED_FINAL),
            "PermanentError: the condition of the Delete on accounts did not hold: attribute_exists(account)",
        ),
    ],
    ids=["permanent", "retriable", "retry after", "parked", "default"],
)
def test_a_refused_effect_fails_the_attempt_with_the_error_it_declares(
    error: Exception | None, expected: tuple[str, int | None, Status], text: str
) -> None:
    world = World(paying(missing(error)))
    outcome = world.deliver()
    assert (outcome.event, outcome.visibility_seconds, world.row.status) == expected
    assert (world.row.error, outcome.error, world.row.result, world.balance) == (text, text, None, 0)


def test_a_refused_effect_may_hold_at_the_next_attempt() -> None:
    world = World(paying(missing(ValueError("not yet"))))
    world.deliver()
    world.clock.advance(5 * SECOND)
    world.client.put_item(TableName="dev-accounts", Item={"account": {"S": "bob"}})
    assert world.deliver().event == "task completed"
    assert (world.row.attempts, world.balance) == (2, 1)


@pytest.mark.parametrize(
    ("effects", "error"),
    [
        ([deposit(), deposit("other")], "effects on other, which the kind does not list in its tables"),
        ([deposit(), deposit("tasks")], "effects on tasks, which the kind does not list in its tables"),
        ([deposit()] * 100, "100 effects; at most 99 fit into one transaction"),
        ([deposit(), deposit()], "effects refused: "),
        ([put("accounts", {**ANN, "balance": 0.5})], "effects refused: TypeError('Float types are not supported"),
    ],
    ids=["a table not listed", "the table of tasks", "too many", "two on one item", "a float"],
)
def test_effects_that_can_never_be_written_are_a_permanent_error_that_says_why(
    effects: list[Effect], error: str
) -> None:
    world = World(lambda work: Effects(effects, PAID))
    assert world.deliver().event == "task dead"
    assert (world.row.error or "").startswith(f"PermanentError: {error}")
    assert (world.row.attempts, world.balance) == (1, 0)


# In the way of others. ------------------------------------------------------------------------------------------------

BUSY = ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "TransactionInProgressException")


@pytest.mark.parametrize("code", [*BUSY, "ThrottlingException", "ProvisionedThroughputExceededException"])
@pytest.mark.parametrize("times", [1, 5])
def test_a_transaction_in_conflict_is_made_again_within_the_attempt(code: str, times: int) -> None:
    world = World(paying())
    world.client.stand_in_the_way(code, times)
    assert world.deliver().event == "task completed"
    assert (world.row.attempts, world.runs, world.balance, len(world.waits)) == (1, 1, 1, times)
    assert all(0 <= wait <= min(1, 0.1 * 2**number) for number, wait in enumerate(world.waits))


@pytest.mark.parametrize("code", BUSY)
def test_a_transaction_in_conflict_to_the_end_is_a_failed_attempt(code: str) -> None:
    world = World(paying())
    world.client.stand_in_the_way(code, 1000)
    outcome = world.deliver()
    assert (outcome.event, outcome.attempt, outcome.visibility_seconds) == ("task failed", 1, 5)
    assert (world.row.error or "").startswith("Busy: ")
    assert (world.row.status, world.balance) == (Status.FAILED_PENDING, 0)
    assert world.clock() < DEADLINE, "the failure itself must be written before the invocation ends"


def test_conflicts_are_waited_out_for_as_long_as_a_function_can_live() -> None:
    world = World(paying())
    world.client.stand_in_the_way("TransactionConflict", 10_000)
    assert world.deliver(deadline=NOW + 899 * SECOND).event == "task failed"
    assert (world.row.error or "").startswith("Busy: ")
    assert len(world.waits) > 1100, "so often that the doubled wait would be no float any more"


def test_conflicts_are_waited_out_no_longer_than_the_kind_has_time() -> None:
    world = World(paying(), timeout_seconds=2)
    world.client.stand_in_the_way("TransactionConflict", 1000)
    assert world.deliver().event == "task failed"
    assert NOW + SECOND < world.clock() < NOW + 2 * SECOND


def test_an_error_that_is_no_conflict_is_not_tried_again_within_the_attempt() -> None:
    world = World(paying())
    world.client.stand_in_the_way("InternalServerError", 1)
    outcome = world.deliver()
    assert (outcome.event, world.waits, world.balance) == ("task failed", [], 0)


def test_a_refusal_after_conflicts_is_the_end_of_trying() -> None:
    world = World(paying(missing(NotEnough("no money"))))
    world.client.stand_in_the_way("TransactionConflict", 2)
    assert world.deliver().error == "NotEnough: no money"
    assert (len(world.waits), world.balance) == (2, 0)


# Stale workers. -------------------------------------------------------------------------------------------------------


def _cancelled(world: World) -> None:
    write = transitions.cancel(world.row, world.clock(), NOW // 1000 + 86_400, "canceller")
    assert isinstance(world.store.apply(write), Task)


def _taken_over(world: World) -> None:
    world.clock.at = DEADLINE + LEASE_MARGIN_MS + 1
    world.worker(run=lambda work: {"by": "the other"}).deliver(COPY, DEADLINE + 60 * SECOND)


def _taken_over_with_effects(world: World) -> None:
    world.clock.at = DEADLINE + LEASE_MARGIN_MS + 1
    world.worker(run=paying()).deliver(COPY, DEADLINE + 60 * SECOND)


@pytest.mark.parametrize(
    ("meanwhile", "status", "balance"),
    [
        (_cancelled, Status.CANCELLED, 0),
        (_taken_over, Status.COMPLETED, 0),
        (_taken_over_with_effects, Status.COMPLETED, 1),
    ],
    ids=["cancelled", "taken over", "taken over by one with effects"],
)
def test_a_worker_whose_task_has_gone_on_writes_none_of_its_effects(
    meanwhile: Callable[[World], None], status: Status, balance: int
) -> None:
    rows: list[Task] = []

    def run(work: Work) -> Effects:
        meanwhile(world)
        rows.append(world.row)
        return Effects([deposit(), put("accounts", {"account": "eve"})], {"by": "the stale one"})

    world = World(run)
    assert world.deliver() == STALE
    assert (world.row, world.row.status, world.balance) == (rows[0], status, balance)
    assert world.client.get_item(TableName="dev-accounts", Key={"account": {"S": "eve"}}) == {}


def test_a_task_cancelled_between_two_tries_of_a_transaction_has_no_effects() -> None:
    world = World(paying())
    world.client.stand_in_the_way("TransactionConflict", 1)
    racing = Between(world.client, "transact_write_items", lambda: _cancelled(world), number=2)
    assert world.deliver(client=racing) == STALE
    assert (world.row.status, world.balance) == (Status.CANCELLED, 0)


def test_a_stale_worker_whose_effect_is_refused_too_changes_nothing() -> None:
    def run(work: Work) -> Effects:
        _cancelled(world)
        return Effects([missing(NotEnough("no money"))])

    world = World(run)
    assert world.deliver() == STALE
    assert (world.row.status, world.row.error) == (Status.CANCELLED, None)


# Lost answers. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeats", [True, False], ids=["the SDK repeats", "the SDK has given up"])
def test_effects_whose_acknowledgement_is_lost_are_written_once_and_the_task_is_completed(repeats: bool) -> None:
    smooth, rough = World(paying()), World(paying())
    lossy = LostAnswer(rough.client, "transact_write_items", repeats=repeats)
    assert rough.deliver(client=lossy) == smooth.deliver()
    assert (rough.row, rough.balance) == (smooth.row, 1)


class Forgetful:
    """Loses the first acknowledgement, and forgets the token by the time the SDK repeats the call."""

    def __init__(self, client: FakeDynamoDB) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def transact_write_items(self, **request: Any) -> Any:
        self._client.transact_write_items(**request)
        return self._client.transact_write_items(**{**request, "ClientRequestToken": "as good as none"})


def test_effects_repeated_when_their_token_is_forgotten_are_written_once_and_the_task_is_completed() -> None:
    world = World(paying())
    assert world.deliver(client=Forgetful(world.client)).event == "task completed"
    assert (world.row.status, world.row.result, world.balance) == (Status.COMPLETED, '{"paid": 1}', 1)


def test_effects_that_did_not_arrive_fail_the_attempt_and_are_written_by_the_next() -> None:
    def unreachable() -> None:
        raise ReadTimeoutError(endpoint_url="http://dynamodb")

    world = World(paying())
    outcome = world.deliver(client=Between(world.client, "transact_write_items", unreachable))
    assert (outcome.event, world.balance) == ("task failed", 0)
    world.clock.advance(5 * SECOND)
    assert world.deliver().event == "task completed"
    assert (world.row.attempts, world.balance) == (2, 1)


class Killed(BaseException):
    """The function's process is gone: nothing in it runs any more."""


class Dying:
    """Carries out the transaction; then the function is killed."""

    def __init__(self, client: FakeDynamoDB) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def transact_write_items(self, **request: Any) -> None:
        self._client.transact_write_items(**request)
        raise Killed


def test_a_worker_killed_after_its_effects_leaves_a_completed_task_whose_message_is_acknowledged() -> None:
    world = World(paying())
    with pytest.raises(Killed):
        world.deliver(client=Dying(world.client))
    assert world.deliver() == Outcome("acknowledged: already COMPLETED", TASK_ID, True)
    assert (world.row.status, world.runs, world.balance) == (Status.COMPLETED, 1, 1)


# Limits of the kind. --------------------------------------------------------------------------------------------------


def _failing(work: Work) -> None:
    raise ValueError("it broke")


def test_the_backoff_of_the_kind_is_used_where_it_has_one() -> None:
    world = World(_failing, backoff=Backoff(11, 900, "none"))
    assert [world.deliver().visibility_seconds, world.row.next_attempt_at] == [11, NOW + 11 * SECOND]


def test_the_kind_that_asks_for_a_wait_of_its_own_gets_it_before_its_backoff() -> None:
    def run(work: Work) -> None:
        raise RetryAfter("later", 7)

    assert World(run, backoff=Backoff(11, 900, "none")).deliver().visibility_seconds == 7


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 25), (3, 3), (0.25, 0.25), (25, 25), (600, 25)], ids=str)
def test_an_attempt_has_the_time_of_its_kind_but_never_more_than_its_invocation(
    timeout: float | None, seconds: float
) -> None:
    seen: list[float] = []
    ends: list[int] = []
    world = World(lambda work: seen.append(work.remaining_seconds()), timeout_seconds=timeout)
    world.worker().deliver(DELIVERY, DEADLINE, lambda task, ends_at: ends.append(ends_at))
    assert (seen, ends) == ([seconds], [NOW + round(seconds * 1000)])


def test_the_time_of_a_kind_does_not_shorten_the_lease() -> None:
    # Its thread may go on for as long as the invocation does.
    leases: list[int | None] = []
    world = World(lambda work: leases.append(world.row.lease_until), timeout_seconds=1)
    world.deliver()
    assert leases == [DEADLINE + LEASE_MARGIN_MS]


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_a_task_dies_of_the_last_attempt_that_its_kind_has(attempts: int) -> None:
    registry = Registry()
    registry.kind("simulated", schema={}, attempts=attempts)(_failing)
    world = World(_failing, backoff=Backoff(0, 900, "none"))
    world.client.delete_item(TableName=TABLE, Key={"PK": {"S": f"T#{TASK_ID}"}, "SK": {"S": "A"}})
    planted(world.store, a_task(max_attempts=registry.attempts("simulated", 3)))
    events = []
    for _ in range(attempts):
        events.append(world.deliver().event)
        world.clock.advance(1)  # no attempt begins in the millisecond of the one before
    assert events == ["task failed"] * (attempts - 1) + ["task dead"]
    assert world.row.attempts == attempts


# A kind removed. ------------------------------------------------------------------------------------------------------


def test_a_task_whose_kind_was_removed_is_dead_names_the_kind_and_can_be_replayed_when_it_is_back() -> None:
    world = World(paying())
    stranger = replace(world.worker(), registry=Registry())
    outcome = stranger.deliver(DELIVERY, DEADLINE)
    error = "PermanentError: kind 'simulated' is not known to this deployment"
    assert (outcome.event, outcome.error, world.row.status) == ("task dead", error, Status.FAILED_FINAL)
    recorded = world.store.apply(transitions.mark_recorded(world.row, NOW // 1000 + 86_400, "monitor"))
    assert isinstance(recorded, Task)
    assert world.store.replay(recorded, transitions.replay(recorded, NOW, "replayer"), "replayer") is None
    again = world.deliver(Delivery(Message(TASK_ID, 2), "message-3", 1))
    assert (again.event, world.row.generation, world.row.attempts, world.balance) == ("task completed", 2, 1, 1)
