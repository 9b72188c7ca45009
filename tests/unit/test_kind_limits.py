"""What a kind may ask for, what a deployment hears of it, and the example of effects: accounts."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any, cast

import pytest

from bootstrap.paths import ROOT
from lambdas.common import kinds, transitions
from lambdas.common.effects import EffectRefused, Effects
from lambdas.common.kinds import MAX_ATTEMPTS, MAX_TIMEOUT_SECONDS, JsonObject, Kind, Registry, Run, Work
from lambdas.common.retry import Backoff, PermanentError
from lambdas.common.store import TaskStore
from lambdas.process_task import kinds as kinds_package
from lambdas.process_task.attempt import error_text
from lambdas.process_task.kinds import accounts
from lambdas.process_task.kinds.accounts import NoSuchAccount, NotEnough
from tests.support.dynamodb import TABLE, FakeDynamoDB
from tests.support.tasks import NOW, planted, processing


def declared(**limits: Any) -> Kind:
    registry = Registry()
    registry.kind("mail", schema={}, **limits)(lambda work: None)
    found = registry.get("mail")
    assert found is not None
    return found


def work_of(**payload: Any) -> Work:
    return Work("task-1", payload, 1, 1, lambda: 20.0)


# Limits. --------------------------------------------------------------------------------------------------------------


def test_a_kind_that_asks_for_nothing_gets_what_the_deployment_has() -> None:
    found = declared()
    assert (found.attempts, found.backoff, found.timeout_seconds, found.tables) == (None, None, None, ())


@pytest.mark.parametrize(
    "limits",
    [
        {"attempts": 1, "timeout_seconds": 0.01, "tables": ("abc", "a.b-c_D9")},
        {"attempts": MAX_ATTEMPTS, "timeout_seconds": MAX_TIMEOUT_SECONDS, "backoff": Backoff(1, 2, "full")},
    ],
    ids=["least", "most"],
)
def test_a_kind_gets_what_it_asks_for(limits: dict[str, Any]) -> None:
    found = declared(**limits)
    assert {name: getattr(found, name) for name in limits} == limits


BAD: list[tuple[str, Any, str]] = [
    ("attempts", 0, "attempts is 0; allowed: whole numbers from 1 to 100"),
    ("attempts", -1, "attempts is -1"),
    ("attempts", MAX_ATTEMPTS + 1, "attempts is 101"),
    ("attempts", 2.5, "attempts is 2.5"),
    ("timeout_seconds", 0, "timeout_seconds is 0; allowed: up to 897"),
    ("timeout_seconds", -1, "timeout_seconds is -1"),
    ("timeout_seconds", MAX_TIMEOUT_SECONDS + 0.5, "timeout_seconds is 897.5"),
    ("timeout_seconds", math.inf, "timeout_seconds is inf"),
    ("timeout_seconds", math.nan, "timeout_seconds is nan"),
    ("tables", ("good", "no good"), "'no good' is no name of a table"),
    ("tables", ("a",), "'a' is no name of a table"),
    ("tables", ("a" * 201,), "is no name of a table"),
    ("tables", ("arn:aws:dynamodb:x",), "is no name of a table"),
    ("tables", ("accounts\n",), "is no name of a table"),
    ("tables", ("accounts", "tasks"), "'tasks' is the table of the tasks themselves"),
    ("tables", ("*",), "is no name of a table"),
    ("tables", "accounts", "'a' is no name of a table"),
]


def test_a_limit_that_makes_no_sense_is_named_with_its_kind() -> None:
    for name, value, error in BAD:
        with pytest.raises(ValueError, match=r"^kind mail: ") as raised:
            declared(**{name: value})
        assert error in str(raised.value), name


def test_a_kind_that_was_refused_is_not_registered() -> None:
    registry = Registry()
    with pytest.raises(ValueError, match="kind mail"):
        registry.kind("mail", schema={}, attempts=0)(lambda work: None)
    assert registry.names() == []


@pytest.mark.parametrize(("name", "attempts"), [("often", 7), ("usual", 3), ("unknown", 3)])
def test_a_task_may_be_tried_as_often_as_its_kind_says_else_as_often_as_the_deployment_says(
    name: str, attempts: int
) -> None:
    registry = Registry()
    registry.kind("often", schema={}, attempts=7)(lambda work: None)
    registry.kind("usual", schema={})(lambda work: None)
    assert registry.attempts(name, 3) == attempts


# The manifest. --------------------------------------------------------------------------------------------------------


def test_the_manifest_tells_what_each_kind_asks_for_in_order_of_names() -> None:
    registry = Registry()
    registry.kind("b", schema={})(lambda work: None)
    registry.kind("a", schema={"maxProperties": 2}, attempts=7, timeout_seconds=2.5, tables=("one", "two"))(
        lambda work: None
    )
    usual: dict[str, Any] = {"attempts": None, "timeout_seconds": None, "tables": [], "schedule": None}
    limits = {"attempts": 7, "timeout_seconds": 2.5, "tables": ["one", "two"]}
    assert registry.manifest() == [
        {**usual, "name": "a", **limits, "schema": {"maxProperties": 2}},
        {**usual, "name": "b", "schema": {}},
    ]


def test_the_manifest_of_the_package_is_its_answer_as_a_program() -> None:
    command = [sys.executable, "-m", "lambdas.process_task.kinds"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = kinds.load(kinds_package)
    # Other tests of this process may have registered kinds of their own.
    own = {name for name in loaded.names() if not _run_of(loaded, name).__module__.startswith("tests.")}
    assert json.loads(done.stdout) == [kind for kind in loaded.manifest() if kind["name"] in own]
    (deposit,) = [kind for kind in json.loads(done.stdout) if kind["name"] == "deposit"]
    assert (deposit["tables"], deposit["schema"]["required"]) == (["accounts"], ["account", "amount"])


def _run_of(loaded: kinds.Registry, name: str) -> kinds.Run:
    found = loaded.get(name)
    assert found is not None
    return found.run


# Accounts. ------------------------------------------------------------------------------------------------------------


def payload_error(name: str, payload: JsonObject) -> str | None:
    found = kinds.load(kinds_package).get(name)
    assert found is not None
    return found.payload_error(payload)


GOOD: list[tuple[str, JsonObject]] = [
    ("deposit", {"account": "a", "amount": 1}),
    ("deposit", {"account": "ä" * 100, "amount": 10**15}),
    ("transfer", {"source": "a", "target": "b", "amount": 1}),
]


@pytest.mark.parametrize(("name", "payload"), GOOD, ids=str)
def test_accounts_take_names_and_whole_amounts(name: str, payload: JsonObject) -> None:
    assert payload_error(name, payload) is None


def test_what_accounts_do_not_take_is_named() -> None:
    for name, payload, field in (
        ("deposit", {"account": "ann"}, "payload must contain"),
        ("deposit", {"amount": 1}, "payload must contain"),
        ("deposit", {"account": "", "amount": 1}, "payload.account must"),
        ("deposit", {"account": "a" * 101, "amount": 1}, "payload.account must"),
        ("deposit", {"account": 1, "amount": 1}, "payload.account must"),
        ("deposit", {"account": "ann", "amount": 0}, "payload.amount must"),
        ("deposit", {"account": "ann", "amount": -5}, "payload.amount must"),
        ("deposit", {"account": "ann", "amount": 0.5}, "payload.amount must"),
        ("deposit", {"account": "ann", "amount": 10**15 + 1}, "payload.amount must"),
        ("deposit", {"account": "ann", "amount": "5"}, "payload.amount must"),
        ("deposit", {"account": "ann", "amount": True}, "payload.amount must"),
        ("deposit", {"account": "ann", "amount": 1, "more": 1}, "payload must not contain"),
        ("transfer", {"source": "ann", "amount": 1}, "payload must contain"),
        ("transfer", {"source": "ann", "target": None, "amount": 1}, "payload.target must"),
    ):
        assert (payload_error(name, payload) or "").startswith(field), name


def declared_by(run: Run, **payload: Any) -> Effects:
    returned = run(work_of(**payload))
    assert isinstance(returned, Effects)
    return returned


def test_a_deposit_adds_to_an_account_whether_it_exists_or_not() -> None:
    (effect,) = declared_by(accounts.deposit, account="ann", amount=5).items
    assert (effect.action, effect.item, effect.expression) == ("Update", {"account": "ann"}, "ADD balance :amount")
    assert (effect.condition, effect.values) == (None, {":amount": 5})


def test_a_transfer_takes_as_much_as_it_gives_and_says_how_much_it_moved() -> None:
    effects = declared_by(accounts.transfer, source="ann", target="bob", amount=5)
    take, give = effects.items
    assert [effect.item for effect in (take, give)] == [{"account": "ann"}, {"account": "bob"}]
    assert [effect.values for effect in (take, give)] == [{":amount": 5}] * 2
    assert effects.result == {"moved": 5}


def account_item(name: str) -> dict[str, Any]:
    return {"TableName": "dev-accounts", "Key": {"account": {"S": name}}}


@pytest.mark.parametrize(
    ("balance", "amount", "target", "error", "after"),
    [
        (5, 3, "bob", None, (2, 4)),
        (5, 5, "bob", None, (0, 6)),
        (5, 6, "bob", "NotEnough: account ann does not hold 6", (5, 1)),
        (None, 1, "bob", "NotEnough: account ann does not hold 1", (None, 1)),
        (5, 5, "eve", "NoSuchAccount: there is no account eve", (5, 1)),
        (5, 6, "eve", "NotEnough: account ann does not hold 6", (5, 1)),
    ],
    ids=["a part", "all of it", "one more", "no account", "to nobody", "one more, to nobody"],
)
def test_a_transfer_moves_what_is_there_and_nothing_else(
    balance: int | None, amount: int, target: str, error: str | None, after: tuple[int | None, int]
) -> None:
    client = FakeDynamoDB(TABLE, {"dev-accounts": ("account",)})
    store = TaskStore(cast(Any, client), TABLE, "dev-")
    payload = json.dumps({"source": "ann", "target": target, "amount": amount})
    task = planted(store, processing(kind="transfer", payload=payload))
    for name, there in (("ann", balance), ("bob", 1)):
        if there is not None:
            item = {"account": {"S": name}, "balance": {"N": str(there)}}
            client.put_item(TableName="dev-accounts", Item=item)

    effects = declared_by(accounts.transfer, **json.loads(payload))
    answer = store.commit(transitions.complete(task, NOW, None, NOW), effects.items, "token")

    refused = effects.items[answer.index].refused if isinstance(answer, EffectRefused) else None
    assert (refused and error_text(refused)) == error
    found = [client.get_item(**account_item(name)).get("Item") for name in ("ann", "bob")]
    assert tuple(item and int(item["balance"]["N"]) for item in found) == after


def test_a_transfer_to_the_same_account_can_never_be_made() -> None:
    with pytest.raises(PermanentError, match="the same account"):
        accounts.transfer(work_of(source="ann", target="ann", amount=5))


def test_the_errors_of_a_refused_transfer_name_the_account_and_are_permanent() -> None:
    take, give = declared_by(accounts.transfer, source="ann", target="bob", amount=5).items
    assert [(type(effect.refused), str(effect.refused)) for effect in (take, give)] == [
        (NotEnough, "account ann does not hold 5"),
        (NoSuchAccount, "there is no account bob"),
    ]
    assert all(isinstance(effect.refused, PermanentError) for effect in (take, give))
