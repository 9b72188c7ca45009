"""Rows on the wire: as boto3 would write them, and back as they were."""

from __future__ import annotations

from decimal import Decimal, Inexact
from enum import StrEnum
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer
from hypothesis import given, settings
from hypothesis import strategies as some

from lambdas.common.transitions import Value
from lambdas.common.wire import from_wire, of_effect, to_wire

TEXT = some.text(max_size=8)
SCALARS = some.none() | some.booleans() | some.integers(-(10**37), 10**37) | TEXT
SETS = some.sets(TEXT, min_size=1, max_size=3)
VALUES = some.recursive(
    SCALARS | SETS,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
boto3s = TypeSerializer().serialize


@settings(max_examples=40)
@given(some.dictionaries(TEXT, VALUES, max_size=4))
def test_a_row_goes_out_as_boto3_would_write_it_and_comes_back_as_it_was(row: dict[str, Value]) -> None:
    written = to_wire(row)
    assert written == {name: boto3s(value) for name, value in row.items()}
    assert from_wire(written) == row


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize("write", [to_wire, of_effect])
def test_a_member_of_an_enumeration_goes_out_as_a_plain_string(write: Any) -> None:
    attribute = write({"colour": Colour.RED})["colour"]["S"]
    assert (attribute, type(attribute)) == ("red", str)


@pytest.mark.parametrize("text", ["1E+3", "1000.0", "1000"])
def test_however_a_whole_number_is_written_it_is_read_as_one(text: str) -> None:
    found = from_wire({"n": {"N": text}, "in": {"L": [{"M": {"n": {"N": text}}}]}})
    assert found == {"n": 1000, "in": [{"n": 1000}]}
    assert type(found["n"]) is int


@pytest.mark.parametrize(
    ("value", "attribute"),
    [
        (Decimal("0.1"), {"N": "0.1"}),
        (b"bytes", {"B": b"bytes"}),
        ({1}, {"NS": ["1"]}),
        (
            {"deep": [Decimal("1.50"), None, True]},
            {"M": {"deep": {"L": [{"N": "1.50"}, {"NULL": True}, {"BOOL": True}]}}},
        ),
    ],
)
def test_an_effect_may_hold_more_than_a_row(value: object, attribute: dict[str, Any]) -> None:
    assert of_effect({"it": value}) == {"it": attribute}


@pytest.mark.parametrize(("value", "error"), [(0.5, TypeError), (10**39 + 1, Inexact), (object(), TypeError)])
def test_what_dynamodb_has_no_value_for_is_refused_in_an_effect(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        of_effect({"it": value})
