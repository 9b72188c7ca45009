"""What the work of a task writes to DynamoDB: in one transaction with COMPLETED, so all of it once, or none. Pure.

    return Effects(
        [update("accounts", {"account": "ann"}, "SET balance = balance - :n", condition="balance >= :n",
                values={":n": 5}, refused=PermanentError("not enough on account ann"))],
        result={"paid": 5},
    )

Values are plain Python (str, int, Decimal, bool, None, bytes, list, dict, set). Tables are named as in the kind's list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lambdas.common.retry import PermanentError

MAX_EFFECTS = 99
"""A transaction takes 100 actions (DynamoDB, TransactWriteItems); one of them completes the task."""

Action = Literal["Put", "Update", "Delete", "ConditionCheck"]


@dataclass(frozen=True, slots=True)
class Effect:
    """One action of a transaction."""

    table: str
    action: Action
    item: Mapping[str, Any]
    """The whole item of a Put, the key of any other action."""
    expression: str | None
    """Of an Update."""
    condition: str | None
    names: Mapping[str, str]
    values: Mapping[str, Any]
    refused: Exception
    """How the attempt failed when the condition did not hold."""


@dataclass(frozen=True, slots=True)
class Effects:
    """What a kind's work returns when it writes. The items must differ from one another, 4 MB in all."""

    items: Sequence[Effect]
    result: dict[str, Any] | None = None

    def problem(self, tables: Sequence[str]) -> str | None:
        """What keeps them from being committed by a kind that lists `tables`, or None."""
        if len(self.items) > MAX_EFFECTS:
            return f"{len(self.items)} effects; at most {MAX_EFFECTS} fit into one transaction"
        strange = sorted({effect.table for effect in self.items} - set(tables))
        return f"effects on {', '.join(strange)}, which the kind does not list in its tables" if strange else None


@dataclass(frozen=True, slots=True)
class EffectRefused:
    """The condition of effect number `index` did not hold; nothing was written."""

    index: int


class Busy(Exception):
    """The transaction met another one or was throttled, and was not made. Try again."""


def put(table: str, item: Mapping[str, Any], **conditioned: Any) -> Effect:
    """Write a whole item. `condition`, `names`, `values` and `refused` as for `update`."""
    return _effect(table, "Put", item, None, **conditioned)


def update(table: str, key: Mapping[str, Any], expression: str, **conditioned: Any) -> Effect:
    """Change an item by an update expression.

    `condition` is a condition expression, `names` and `values` the substitutes in both expressions, `refused` the error
    of the attempt when the condition does not hold (a PermanentError, unless it says otherwise).
    """
    return _effect(table, "Update", key, expression, **conditioned)


def delete(table: str, key: Mapping[str, Any], **conditioned: Any) -> Effect:
    """Delete an item. `condition`, `names`, `values` and `refused` as for `update`."""
    return _effect(table, "Delete", key, None, **conditioned)


def check(table: str, key: Mapping[str, Any], condition: str, **conditioned: Any) -> Effect:
    """Write nothing, but let the others happen only if the condition holds on this item."""
    return _effect(table, "ConditionCheck", key, None, condition=condition, **conditioned)


def _effect(
    table: str,
    action: Action,
    item: Mapping[str, Any],
    expression: str | None,
    *,
    condition: str | None = None,
    names: Mapping[str, str] | None = None,
    values: Mapping[str, Any] | None = None,
    refused: Exception | None = None,
) -> Effect:
    error = refused or PermanentError(f"the condition of the {action} on {table} did not hold: {condition}")
    return Effect(table, action, dict(item), expression, condition, dict(names or {}), dict(values or {}), error)
