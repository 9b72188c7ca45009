"""Rows and conditional writes in the form in which DynamoDB takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from lambdas.common.transitions import Value, Write

_NAME = re.compile(r"#(\w+)")
_VALUE = re.compile(r":\w+")
_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


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
    return {name: _serialize(_unwrapped(value)) for name, value in values.items() if name in used}


def to_wire(row: Mapping[str, Value]) -> dict[str, Any]:
    return {name: _serialize(_unwrapped(value)) for name, value in row.items()}


def _unwrapped(value: Value) -> Value:
    """A StrEnum member as the plain string that the serializer knows."""
    return str(value) if isinstance(value, str) else value


def from_wire(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _integers(_deserialize(value)) for name, value in item.items()}


def _integers(value: Any) -> Any:
    """The rows hold whole numbers only; boto3 reads every number as Decimal."""
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, list):
        return [_integers(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _integers(entry) for name, entry in value.items()}
    return value
