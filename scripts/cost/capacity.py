"""What DynamoDB and SQS charge for one call, by the rules they publish. Pure.

An emulator's ConsumedCapacity cannot be trusted with it: MiniStack 1.5.33 charges every read one item of at most 4 KB,
and a refused write nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Item = Mapping[str, Any]
"""As it goes over the wire: {"name": {"S": "text"}}."""

WRITE_BYTES = 1024
READ_BYTES = 4096
REQUEST_BYTES = 64 * 1024


def item_bytes(item: Item) -> int:
    """Names and values (DynamoDB Developer Guide, CapacityUnitCalculations)."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(typed: Mapping[str, Any]) -> int:
    ((kind, value),) = typed.items()
    match kind:
        case "S":
            return len(value.encode())
        case "N":
            return _number_bytes(value)
        case "B":
            return len(value)
        case "SS" | "NS" | "BS":
            return sum(_value_bytes({kind[0]: member}) for member in value)
        case "L":
            return 3 + sum(1 + _value_bytes(element) for element in value)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _value_bytes(element) for name, element in value.items())
        case _:
            return 1  # NULL, BOOL


def _number_bytes(text: str) -> int:
    """One byte per two significant digits, and one."""
    significant = "".join(str(digit) for digit in Decimal(text).as_tuple().digits).strip("0")
    return math.ceil(len(significant) / 2) + 1


def write_units(old: Item | None, new: Item | None) -> int:
    """Of a put, an update, a delete: the larger of the item before and after (read-write-operations).

    A refused conditional write costs as much as the item that stood against it, at least 1 (WorkingWithItems,
    "Conditional writes"): `old` and `new` are the same then.
    """
    return _started(max(_size(old), _size(new)), WRITE_BYTES)


TRANSACTION = 2
"""Each item of a transaction is written twice, once to prepare and once to commit (transaction-apis, "Capacity")."""


def read_units(items: Iterable[int], consistent: bool) -> float:
    """Of items read by their keys: each is rounded up for itself, and one that is not there counts, too."""
    return sum(_started(size, READ_BYTES) for size in items) * (1 if consistent else 0.5)


def query_units(items: Iterable[Item], consistent: bool) -> float:
    """Of one query: the sizes are added up first (read-write-operations, "Query")."""
    return read_units([sum(map(item_bytes, items))], consistent)


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index."""

    name: str
    keys: tuple[str, ...]
    projected: frozenset[str] | None
    """Every attribute that it keeps, keys included. None: all."""

    def entry(self, item: Item | None) -> Item | None:
        """What it keeps of an item; None when the item lacks one of its keys (a sparse index)."""
        if item is None or any(key not in item for key in self.keys):
            return None
        return {name: value for name, value in item.items() if self.projected is None or name in self.projected}

    def write_units(self, old: Item | None, new: Item | None) -> int:
        """What a change of the item costs here (Developer Guide, GSI, "Write capacity units").

        Nothing while the entry stays as it is, one write to make, change or delete it, two (delete, put) when its key
        changes. A transaction costs an index no more than any other write: it is updated afterwards.
        """
        before, after = self.entry(old), self.entry(new)
        if before == after:
            return 0
        if before is None or after is None or all(before[key] == after[key] for key in self.keys):
            return write_units(before, after)
        return write_units(before, None) + write_units(None, after)


def request_units(payload_bytes: int) -> int:
    """SQS bills every 64 KB of payload that a request carries as one request (SQS pricing)."""
    return _started(payload_bytes, REQUEST_BYTES)


def _size(item: Item | None) -> int:
    return item_bytes(item) if item is not None else 0


def _started(size: int, unit: int) -> int:
    return max(1, math.ceil(size / unit))
