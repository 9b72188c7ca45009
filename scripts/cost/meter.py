"""A meter for boto3 clients: SDK calls, DynamoDB capacity units and SQS requests of each named phase.

It listens to botocore's own events, so that what is measured is the real code's real calls. Units come from the items
themselves (`capacity`): before and after each write the meter looks at what was written, through another client. What
the server says it consumed is kept beside that.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from scripts.cost import capacity
from scripts.cost.bill import Counts
from scripts.cost.capacity import Index, Item

Params = Mapping[str, Any]
SHARED_BY_A_BATCH = ("ReceiveMessage", "DeleteMessageBatch")
WRITES = ("PutItem", "UpdateItem", "DeleteItem")
HIDES_WHAT_WAS_READ = ("ProjectionExpression", "FilterExpression", "Select")


class NotMeasured(Exception):
    """A call that this meter has no rule for."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used. Whole numbers, until it is shared out among tasks."""

    calls: Mapping[str, float] = field(default_factory=dict)
    """By operation: "dynamodb.PutItem"."""
    table_writes: float = 0
    index_writes: float = 0
    reads: float = 0
    requests: float = 0
    """To SQS, as billed."""

    def __add__(self, other: Usage) -> Usage:
        names = {*self.calls, *other.calls}
        calls = {name: self.calls.get(name, 0) + other.calls.get(name, 0) for name in names}
        return Usage(
            {name: count for name, count in calls.items() if count},
            self.table_writes + other.table_writes,
            self.index_writes + other.index_writes,
            self.reads + other.reads,
            self.requests + other.requests,
        )

    def __mul__(self, factor: float) -> Usage:
        calls = {name: count * factor for name, count in self.calls.items()}
        return Usage(
            calls,
            self.table_writes * factor,
            self.index_writes * factor,
            self.reads * factor,
            self.requests * factor,
        )

    def __sub__(self, other: Usage) -> Usage:
        return self + other * -1

    def per(self, count: int) -> Usage:
        return self * (1 / count)

    @property
    def billed(self) -> Counts:
        """Of DynamoDB and SQS; Lambda, API Gateway and logs are not in it."""
        writes = self.table_writes + self.index_writes
        return Counts({"write_units": writes, "read_units": self.reads, "queue_requests": self.requests})

    def alone(self, batch: int) -> Usage:
        """In batches of one, measured in batches of so many: a receive and a delete for each message."""
        shared = sum(self.calls.get(f"sqs.{name}", 0) for name in SHARED_BY_A_BATCH)
        return replace(self, requests=self.requests + (batch - 1) * shared)


@dataclass(frozen=True, slots=True)
class Schema:
    """What a write's price depends on beside its items."""

    keys: tuple[str, ...]
    indexes: tuple[Index, ...]


class Tables(Protocol):
    """The tables, seen past the meter."""

    def schema(self, table: str) -> Schema: ...
    def item(self, table: str, key: Item) -> Item | None: ...


class LiveTables:
    """Through a client that is not metered."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._schemas: dict[str, Schema] = {}

    def schema(self, table: str) -> Schema:
        if table not in self._schemas:
            self._schemas[table] = schema_of(self._client.describe_table(TableName=table)["Table"])
        return self._schemas[table]

    def item(self, table: str, key: Item) -> Item | None:
        found: Item | None = self._client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
        return found


def schema_of(description: Params) -> Schema:
    """From DescribeTable."""
    keys = _names(description)
    return Schema(keys, tuple(_index_of(index, keys) for index in description.get("GlobalSecondaryIndexes", [])))


def _index_of(description: Params, table_keys: tuple[str, ...]) -> Index:
    keys, projection = _names(description), description["Projection"]
    own = {*table_keys, *keys, *projection.get("NonKeyAttributes", [])}
    return Index(description["IndexName"], keys, None if projection["ProjectionType"] == "ALL" else frozenset(own))


def _names(description: Params) -> tuple[str, ...]:
    return tuple(element["AttributeName"] for element in description["KeySchema"])


@dataclass(slots=True)
class Claimed:
    """How many units the server said that calls of one sort consumed, beside the rules."""

    calls: int = 0
    by_rule: float = 0
    by_server: float = 0


@dataclass(frozen=True, slots=True)
class _Touched:
    """An item that a write is about to change, as it was."""

    table: str
    key: Item
    before: Item | None
    factor: int


class Meter:
    """One write at a time per item: what another writes to it in between would be counted twice."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._phase: str | None = None
        self._lock = threading.Lock()
        self.phases: dict[str, Usage] = {}
        self.claimed: dict[str, Claimed] = defaultdict(Claimed)
        """By operation; a refused one is a sort of its own."""

    def attach(self, client: Any) -> Any:
        """The same client, from now on metered."""
        service, events = client.meta.service_model.service_id.hyphenize(), client.meta.events
        events.register(f"provide-client-params.{service}", self._before)
        events.register(f"after-call.{service}", self._after)
        return client

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what is called inside, in addition to what the phase has already. Outside of any, nothing counts."""
        assert self._phase is None, f"phase {name} inside of phase {self._phase}"
        self._phase = name
        self.phases.setdefault(name, Usage())
        try:
            yield
        finally:
            self._phase = None

    def _before(self, params: Params, model: Any, context: dict[str, Any], **_: Any) -> Params:
        context["meter"] = (params, self._touched(params, model.name))
        if "ReturnConsumedCapacity" in model.input_shape.members:
            return {**params, "ReturnConsumedCapacity": "INDEXES"}
        return params

    def _touched(self, params: Params, operation: str) -> list[_Touched]:
        if operation in WRITES:
            return [self._look(params, 1)]
        if operation == "TransactWriteItems":
            actions = [next(iter(item.items())) for item in params["TransactItems"]]
            if any(name == "ConditionCheck" for name, _ in actions):
                raise NotMeasured("a ConditionCheck")
            return [self._look(action, capacity.TRANSACTION) for _, action in actions]
        return []

    def _look(self, action: Params, factor: int) -> _Touched:
        table = action["TableName"]
        key = action.get("Key") or {name: action["Item"][name] for name in self._tables.schema(table).keys}
        return _Touched(table, key, self._tables.item(table, key), factor)

    def _after(self, parsed: Params, model: Any, context: dict[str, Any], **_: Any) -> None:
        params, touched = context["meter"]
        call = _Call(model.service_model.service_name, model.name, params, parsed)
        used = Usage({f"{call.service}.{call.operation}": 1}) + call.cost + self._written(touched, call)
        with self._lock:
            if self._phase is not None:
                self.phases[self._phase] += used
                self._compare(call, used)

    def _written(self, touched: list[_Touched], call: _Call) -> Usage:
        if touched and call.error and (call.operation not in WRITES or call.error != "ConditionalCheckFailedException"):
            raise NotMeasured(f"{call.operation} that ended in {call.error}")
        table_writes = index_writes = 0
        for item in touched:
            after = self._tables.item(item.table, item.key)
            table_writes += item.factor * capacity.write_units(item.before, after)
            indexes = self._tables.schema(item.table).indexes
            index_writes += sum(index.write_units(item.before, after) for index in indexes)
        return Usage({}, table_writes, index_writes)

    def _compare(self, call: _Call, used: Usage) -> None:
        if call.service == "dynamodb":
            claimed = self.claimed[f"{call.operation}, refused" if call.error else call.operation]
            claimed.calls += 1
            claimed.by_rule += used.table_writes + used.index_writes + used.reads
            claimed.by_server += call.consumed


@dataclass(frozen=True)
class _Call:
    """A call that was answered."""

    service: str
    operation: str
    params: Params
    answer: Params

    @property
    def error(self) -> str | None:
        return self.answer.get("Error", {}).get("Code") if "Error" in self.answer else None

    @property
    def consumed(self) -> float:
        """What the server says."""
        found = self.answer.get("ConsumedCapacity", [])
        return float(sum(part["CapacityUnits"] for part in (found if isinstance(found, list) else [found])))

    @cached_property
    def cost(self) -> Usage:
        """Of reading and queueing; what writing costs is for those to say who know the items."""
        if self.service == "sqs":
            return Usage(requests=self._requests())
        return Usage(reads=self._read_units())

    def _requests(self) -> int:
        sent = self.params["Entries"] if self.operation == "SendMessageBatch" else [self.params]
        bodies = [each.get("MessageBody", "") for each in sent]
        if self.operation == "ReceiveMessage":
            bodies = [message["Body"] for message in self.answer.get("Messages", [])]
        return capacity.request_units(sum(len(body.encode()) for body in bodies))

    def _read_units(self) -> float:
        consistent = self.params.get("ConsistentRead", False)
        match self.operation:
            case "GetItem":
                self._check_whole(self.params)
                return capacity.read_units([capacity.item_bytes(self.answer.get("Item", {}))], consistent)
            case "Query":
                self._check_whole(self.params)
                return capacity.query_units(self.answer["Items"], consistent)
            case "BatchGetItem":
                return sum(self._batch_units(table, asked) for table, asked in self.params["RequestItems"].items())
            case "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems":
                return 0
        raise NotMeasured(self.operation)

    def _batch_units(self, table: str, asked: Params) -> float:
        self._check_whole(asked)
        found = [capacity.item_bytes(item) for item in self.answer["Responses"].get(table, [])]
        left = len(self.answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", []))
        absent = [0] * (len(asked["Keys"]) - left - len(found))
        return capacity.read_units([*found, *absent], asked.get("ConsistentRead", False))

    def _check_whole(self, asked: Params) -> None:
        hiding = [name for name in HIDES_WHAT_WAS_READ if name in asked]
        if hiding:
            raise NotMeasured(f"{self.operation} with {', '.join(hiding)}: the answer does not show what was read")
