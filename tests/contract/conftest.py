"""The same table three times: in memory, and on each emulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest

from lambdas.common.store import TaskStore
from tests.support.dynamodb import TABLE, FakeDynamoDB, task_store
from tests.support.stack import DeployedStack, new_id
from tests.support.templates import template

SCHEMA = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
EFFECT_TABLES = {"accounts": ("account",), "ledger": ("account", "entry")}
"""Tables that effects are written to, with the names of their keys."""


@dataclass(frozen=True)
class Table:
    """An empty table of this test's own, and how to reach it."""

    client: Any
    name: str

    @property
    def store(self) -> TaskStore:
        return task_store(self.client, self.name)

    def item(self, partition: str, sort: str) -> dict[str, Any] | None:
        """An item on the wire, for what the store writes and never reads."""
        answer = self.client.get_item(TableName=self.name, Key={"PK": {"S": partition}, "SK": {"S": sort}})
        return cast(dict[str, Any] | None, answer.get("Item"))

    @contextmanager
    def effect_tables(self) -> Iterator[None]:
        """While this lasts, `<table>-<name>` is there for each of EFFECT_TABLES; the fake always has them."""
        if isinstance(self.client, FakeDynamoDB):
            yield
            return
        names = [_made(self.client, f"{self.name}-{name}", key) for name, key in EFFECT_TABLES.items()]
        yield
        for name in names:
            self.client.delete_table(TableName=name)


@pytest.fixture(params=["fake", "embedded", "localstack"])
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    if request.param == "fake":
        yield Table(FakeDynamoDB(TABLE, {f"{TABLE}-{name}": key for name, key in EFFECT_TABLES.items()}), TABLE)
    else:
        stack: DeployedStack = request.getfixturevalue(f"{request.param}_stack")
        yield from _emulated(stack.dynamodb)


@pytest.fixture
def store(table: Table) -> TaskStore:
    return table.store


def _emulated(client: Any) -> Iterator[Table]:
    """Made from the template's own definition, so that no sweeper and no worker of the stack acts on its rows."""
    name = new_id("contract")
    properties = template("storage")["Resources"]["TaskTable"]["Properties"]
    client.create_table(TableName=name, **{key: properties[key] for key in SCHEMA})
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    yield Table(client, name)
    client.delete_table(TableName=name)


def _made(client: Any, name: str, key: tuple[str, ...]) -> str:
    """A table whose key attributes are texts, the first the partition key."""
    types = [{"AttributeName": attribute, "AttributeType": "S"} for attribute in key]
    kinds = zip(key, ("HASH", "RANGE"), strict=False)
    schema = [{"AttributeName": attribute, "KeyType": kind} for attribute, kind in kinds]
    client.create_table(TableName=name, AttributeDefinitions=types, KeySchema=schema, BillingMode="PAY_PER_REQUEST")
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    return name
