"""Every AND-term of every condition that the deployed store sends, found in `lambdas.common.transitions` itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from lambdas.common import transitions
from lambdas.common.store import TaskStore
from lambdas.common.transitions import Write
from tests.model.environment import Table, first_row
from tests.model.rules import DEPLOYED
from tests.model.state import FRESH, Order

TRUE = "attribute_exists(#PK) OR attribute_not_exists(#PK)"


@dataclass(frozen=True, order=True)
class Term:
    write: str
    """A function of `transitions` that makes a Write, or the name of a condition that stands there by itself."""
    name: str
    text: str
    """As DynamoDB reads it."""

    def __str__(self) -> str:
        return f"{self.write}.{self.name}"


def makers() -> tuple[str, ...]:
    """The functions that make a write, in the order of the file."""
    functions = inspect.getmembers(transitions, inspect.isfunction)
    own = [function for name, function in functions if function.__module__ == transitions.__name__ and name[0] != "_"]
    made = [function for function in own if function.__annotations__.get("return") == Write.__name__]
    return tuple(function.__name__ for function in sorted(made, key=lambda function: function.__code__.co_firstlineno))


def constants() -> dict[str, dict[str, str]]:
    """Conditions of puts, and of what is written beside a row: dictionaries in capitals."""
    return {name.lower(): value for name, value in vars(transitions).items() if _is_condition(name, value)}


def _is_condition(name: str, value: Any) -> bool:
    named = name.isupper() and not name.startswith("_") and isinstance(value, dict)
    return named and all(isinstance(text, str) for text in value.values())


def terms() -> Iterator[Term]:
    table = Table(DEPLOYED)
    for name in makers():
        order = Order(name, first_row(2, 0), 1, 0, FRESH, until=0)
        for term, text in table.built(order).conditions.items():
            yield Term(name, term, text)
    for name, conditions in constants().items():
        for term, text in conditions.items():
            yield Term(name, term, text)


@contextmanager
def dropped(term: Term) -> Iterator[None]:
    """While this lasts, the deployed store sends the condition without the term."""
    alone = constants().get(term.write)
    with _always_true(alone, term) if alone is not None else _left_out(term):
        yield


@contextmanager
def _always_true(conditions: dict[str, str], term: Term) -> Iterator[None]:
    """A condition may not be empty, so its only term is made one that always holds."""
    conditions[term.name] = f"{term.text} OR {TRUE}"
    try:
        yield
    finally:
        conditions[term.name] = term.text


@contextmanager
def _left_out(term: Term) -> Iterator[None]:
    update = TaskStore._update

    def weaker(store: TaskStore, write: Write) -> Any:
        return update(store, write.without(term.name) if write.name == term.write else write)

    with mock.patch.object(TaskStore, "_update", weaker):
        yield
