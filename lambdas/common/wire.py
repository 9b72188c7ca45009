"""Rows and conditional writes in the form in which DynamoDB takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, assert_never

from lambdas.common.transitions import Value, Write

_NAME = re.compile(r"#(\w+)")
_VALUE = re.compile(r":\w+")


def conjunction(conditions: Mapping[str, str]) -> str:
    return " AND ".join(f"({text})" for text in conditions.values())


def update_expression(write: Write) -> str:
    clauses = ["SET " + ", ".join(f"#{name} = {value}" for name, value in write.set.items())]
    if write.remove:
        clauses.append("REMOVE " + ", ".join(f"#{name}" for name in write.remove))
    if write.add:
        clauses.append("ADD " + ", ".join(f"#{name} {value}" for name, value in write.add.items()))
    return " ".join(clauses)


def names_in(text: str) -> dict[str, str]:
    return {f"#{name}": name for name in _NAME.findall(text)}


def values_in(text: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """Only the values that the text mentions: DynamoDB refuses unused ones."""
    used = set(_VALUE.findall(text))
    return {name: _attribute(value) for name, value in values.items() if name in used}


def to_wire(row: Mapping[str, Value]) -> dict[str, Any]:
    return {name: _attribute(value) for name, value in row.items()}


def _attribute(value: Value) -> dict[str, Any]:
    """One of the few types that rows hold; what there may be in effects is boto3's business."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case str():
            return {"S": str(value)}  # of a StrEnum member the plain string
        case list():
            return {"L": [_attribute(entry) for entry in value]}
        case dict():
            return {"M": to_wire(value)}
        case set():
            return {"SS": list(value)}
    assert_never(value)  # the SDK would send whatever it is, or part of it: it does not check what comes from here


def from_wire(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(attribute) for name, attribute in item.items()}


def _plain(attribute: Mapping[str, Any]) -> Any:
    """The rows hold whole numbers only."""
    (kind, value), *_ = attribute.items()
    match kind:
        case "N":
            return int(Decimal(value))
        case "NULL":
            return None
        case "L":
            return [_plain(entry) for entry in value]
        case "M":
            return from_wire(value)
        case "SS":
            return set(value)
    return value


def of_effect(values: Mapping[str, Any]) -> dict[str, Any]:
    """Whatever a kind's work may write: see `lambdas.common.effects`.

    Raises:
        TypeError, ArithmeticError: DynamoDB has no such value.
    """
    from boto3.dynamodb.types import TypeSerializer  # most functions write no effect, and boto3 takes 40 ms

    serialize = TypeSerializer().serialize
    return {name: serialize(str(v) if isinstance(v, str) else v) for name, v in values.items()}
