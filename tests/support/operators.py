"""What DynamoDB's operators and functions do, on plain values. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

MISSING = object()
"""What an attribute is that the row does not have."""
WRONG_TYPE = "An operand in the update expression has an incorrect data type"


class ExpressionError(Exception):
    """The expression is not one, or cannot be carried out on this row."""


def type_of(value: Any) -> str:
    """DynamoDB's name of the value's type."""
    if isinstance(value, bool):
        return "BOOL"
    if isinstance(value, set | frozenset):
        return "SS" if all(isinstance(member, str) for member in value) else "NS"
    types = ((str, "S"), (int | Decimal, "N"), (list, "L"), (dict, "M"), (type(None), "NULL"))
    return next((name for kind, name in types if isinstance(value, kind)), "B")


ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compare(symbol: str, left: Any, right: Any) -> bool:
    """Between different types, and with a missing attribute, only "not equal" is true."""
    comparable = left is not MISSING and right is not MISSING and type_of(left) == type_of(right)
    if symbol in ORDERS:
        return comparable and type_of(left) in ("S", "N", "B") and ORDERS[symbol](left, right)
    return (comparable and left == right) == (symbol == "=")


def contains(container: Any, member: Any) -> bool:
    if isinstance(container, str):
        return isinstance(member, str) and member in container
    return isinstance(container, set | frozenset | list) and member in container


def size(value: Any) -> Any:
    return len(value) if isinstance(value, str | list | dict | set | frozenset) else MISSING


CONDITIONS: Mapping[str, tuple[int, Callable[..., bool]]] = {
    "attribute_exists": (1, lambda value: value is not MISSING),
    "attribute_not_exists": (1, lambda value: value is MISSING),
    "contains": (2, contains),
}


def plus(left: Any, right: Any) -> Any:
    if type_of(left) != "N" or type_of(right) != "N":
        raise ExpressionError(WRONG_TYPE)
    return left + right


def minus(left: Any, right: Any) -> Any:
    return plus(left, -right if type_of(right) == "N" else right)


def list_append(left: Any, right: Any) -> Any:
    if not isinstance(left, list) or not isinstance(right, list):
        raise ExpressionError(WRONG_TYPE)
    return left + right


def add(old: Any, value: Any) -> Any:
    """ADD: to a number, or to a set of the same type; what is missing is 0 or empty."""
    if type_of(value) not in ("N", "SS", "NS") or (old is not MISSING and type_of(old) != type_of(value)):
        raise ExpressionError(WRONG_TYPE)
    if old is MISSING:
        return value
    return old + value if type_of(value) == "N" else old | value
