"""DynamoDB's condition and update expressions, parsed and evaluated on plain rows. Pure.

A row maps attribute names to plain values: strings, numbers, booleans, None, lists, maps and sets, as boto3's
deserializer makes them. `#name` is looked up in `names`; without `names` it stands for the attribute of that name.
Source: DynamoDB Developer Guide, "Condition and filter expressions" and "Update expressions".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from tests.support.operators import (
    CONDITIONS,
    MISSING,
    ORDERS,
    ExpressionError,
    add,
    compare,
    list_append,
    minus,
    plus,
    size,
)

Row = Mapping[str, Any]
TOKEN = re.compile(r"\s*([#:]\w+|[A-Za-z_]\w*|<>|<=|>=|[=<>(),+-])")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scope:
    row: Row
    names: Mapping[str, str] | None
    values: Row


Evaluate = Callable[[Scope], Any]


@dataclass(frozen=True, slots=True)
class Action:
    """One attribute of an update; `value` gives MISSING for an attribute that goes."""

    path: str
    value: Evaluate


def holds(condition: str, row: Row, values: Row, names: Mapping[str, str] | None = None) -> bool:
    """Whether the condition is true of the row; {} stands for an item that does not exist."""
    return bool(_condition(condition)(Scope(row, names, values)))


def updated(update: str, row: Row, values: Row, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The row after the update. Every right-hand side sees the row as it was before."""
    scope = Scope(row, names, values)
    changes: dict[str, Any] = {}
    for action in _update(update):
        name = _attribute(action.path, scope)
        if name in changes:
            raise ExpressionError(f"Two document paths overlap with each other; path one: [{name}]")
        changes[name] = action.value(scope)
    return {name: value for name, value in {**row, **changes}.items() if value is not MISSING}


def mentioned(text: str) -> frozenset[str]:
    """The `#names` and `:values` in an expression."""
    return frozenset(token for token in _tokens(text) if token[0] in "#:")


def attributes(text: str, names: Mapping[str, str] | None = None) -> frozenset[str]:
    """The attributes that a condition speaks of."""
    words = (token for token in _tokens(text) if token[0] == "#" or (token[0].isalpha() and token not in RESERVED))
    return frozenset(_attribute(word, Scope({}, names, {})) for word in words)


@lru_cache(maxsize=1024)
def _tokens(text: str) -> tuple[str, ...]:
    tokens, at = [], 0
    while at < len(text.rstrip()):
        found = TOKEN.match(text, at)
        if not found:
            raise ExpressionError(f"Syntax error; near: {text[at : at + 20]!r}")
        tokens.append(found[1])
        at = found.end()
    return tuple(tokens)


@lru_cache(maxsize=1024)
def _condition(text: str) -> Evaluate:
    return _Parser(_tokens(text)).whole_condition()


@lru_cache(maxsize=1024)
def _update(text: str) -> Sequence[Action]:
    return _Parser(_tokens(text)).whole_update()


def _attribute(path: str, scope: Scope) -> str:
    if not path.startswith("#"):
        return path
    if scope.names is None:
        return path[1:]
    if path not in scope.names:
        raise ExpressionError(
            f"An expression attribute name used in the document path is not defined; attribute name: {path}"
        )
    return scope.names[path]


def _value(name: str, scope: Scope) -> Any:
    if name not in scope.values:
        raise ExpressionError(
            f"An expression attribute value used in expression is not defined; attribute value: {name}"
        )
    return scope.values[name]


RESERVED = frozenset({"AND", "OR", "NOT", "IN", "BETWEEN", "size", *CONDITIONS})


class _Parser:
    """Recursive descent; each method eats what it is called after and returns how to evaluate it."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def whole_condition(self) -> Evaluate:
        return self._to_the_end(self._or())

    def whole_update(self) -> Sequence[Action]:
        clauses = {"SET": self._assignment, "REMOVE": self._removal, "ADD": self._addition}
        actions: list[Action] = []
        while (clause := self._peek()) in clauses:
            self._next()
            actions += self._list_of(clauses.pop(clause))
        if not actions:
            self._fail()
        return self._to_the_end(actions)

    def _or(self) -> Evaluate:
        left = self._and()
        while self._eat("OR"):
            left = _either(left, self._and())
        return left

    def _and(self) -> Evaluate:
        left = self._not()
        while self._eat("AND"):
            left = _both(left, self._not())
        return left

    def _not(self) -> Evaluate:
        if self._eat("NOT"):
            inner = self._not()
            return lambda scope: not inner(scope)
        return self._group() if self._eat("(") else self._test()

    def _group(self) -> Evaluate:
        opened = self._at
        inner = self._or()
        if self._tokens[opened] == "(" and self._closing(opened) == self._at - 1:
            raise ExpressionError("The expression has redundant parentheses;")
        self._expect(")")
        return inner

    def _closing(self, opened: int) -> int:
        """Where the parenthesis that opens at `opened` closes."""
        depth = 0
        for at in range(opened, len(self._tokens)):
            depth += {"(": 1, ")": -1}.get(self._tokens[at], 0)
            if depth == 0:
                return at
        return self._fail()

    def _test(self) -> Evaluate:
        if self._peek() in CONDITIONS:
            return self._function()
        left = self._operand()
        symbol = self._next()
        if symbol == "BETWEEN":
            return self._between(left)
        if symbol == "IN":
            return self._in(left)
        if symbol not in ORDERS and symbol not in ("=", "<>"):
            self._fail()
        right = self._operand()
        return lambda scope: compare(symbol, left(scope), right(scope))

    def _function(self) -> Evaluate:
        count, test = CONDITIONS[self._next()]
        operands = self._in_parentheses(self._operand)
        if len(operands) != count:
            raise ExpressionError("Incorrect number of operands for operator or function")
        return lambda scope: test(*(operand(scope) for operand in operands))

    def _between(self, middle: Evaluate) -> Evaluate:
        low = self._operand()
        self._expect("AND")
        high = self._operand()
        return lambda s: compare("<=", low(s), middle(s)) and compare("<=", middle(s), high(s))

    def _in(self, left: Evaluate) -> Evaluate:
        choices = self._in_parentheses(self._operand)
        return lambda scope: any(compare("=", left(scope), choice(scope)) for choice in choices)

    def _operand(self) -> Evaluate:
        if self._eat("size"):
            (inner,) = self._in_parentheses(self._operand)
            return lambda scope: size(inner(scope))
        token = self._next()
        if token.startswith(":"):
            return lambda scope: _value(token, scope)
        path = self._path(token)
        return lambda scope: scope.row.get(_attribute(path, scope), MISSING)

    def _assignment(self) -> Action:
        path = self._path(self._next())
        self._expect("=")
        value = self._term()
        while (sign := self._peek()) in ("+", "-"):
            self._next()
            value = _applied(plus if sign == "+" else minus, value, self._term())
        return Action(path, value)

    def _term(self) -> Evaluate:
        """A value that must be there; only if_not_exists may look at what is missing."""
        if self._eat("list_append"):
            left, right = self._in_parentheses(self._term)
            return _applied(list_append, left, right)
        if self._eat("if_not_exists"):
            self._expect("(")
            wanted = self._operand()
            self._expect(",")
            other = self._term()
            self._expect(")")
            return lambda scope: other(scope) if wanted(scope) is MISSING else wanted(scope)
        return _present(self._operand())

    def _removal(self) -> Action:
        return Action(self._path(self._next()), lambda scope: MISSING)

    def _addition(self) -> Action:
        path = self._path(self._peek())
        return Action(path, _applied(add, self._operand(), self._operand()))

    def _path(self, token: str) -> str:
        if not (token[:1] == "#" or token[:1].isalpha()) or token in RESERVED:
            self._fail()
        return token

    def _in_parentheses(self, item: Callable[[], Evaluate]) -> list[Evaluate]:
        self._expect("(")
        items = self._list_of(item)
        self._expect(")")
        return items

    def _list_of(self, item: Callable[[], T]) -> list[T]:
        items = [item()]
        while self._eat(","):
            items.append(item())
        return items

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek() or self._fail()
        self._at += 1
        return token

    def _eat(self, token: str) -> bool:
        found = self._peek() == token
        self._at += found
        return found

    def _expect(self, token: str) -> None:
        if not self._eat(token):
            self._fail()

    def _to_the_end(self, parsed: T) -> T:
        return self._fail() if self._peek() else parsed

    def _fail(self) -> NoReturn:
        raise ExpressionError(f"Syntax error; token: {self._peek() or '<EOF>'!r}")


def _either(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda scope: left(scope) or right(scope)


def _both(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda scope: left(scope) and right(scope)


def _applied(step: Callable[[Any, Any], Any], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda scope: step(left(scope), right(scope))


def _present(operand: Evaluate) -> Evaluate:
    def value(scope: Scope) -> Any:
        found = operand(scope)
        if found is MISSING:
            raise ExpressionError("The provided expression refers to an attribute that does not exist in the item")
        return found

    return value
