"""Rows of a CSV file, counted and summed by group. Pure, and in bounded memory whatever the file holds."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import TextIO

from lambdas.common.retry import PermanentError

MAX_GROUPS = 10_000
MAX_GROUP_CHARACTERS = 256
MAX_ROW_CHARACTERS = 1024 * 1024
MAX_NUMBER_CHARACTERS = 40
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)", re.ASCII)
"""No exponent: the exact sum of 1E999999 and 1 has a million digits."""
EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])
"""Sums of 10^30 numbers of 40 digits before or behind the point; a digit lost would be an error, not a rounding."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  the full-width ones count, too
"""Beginnings of a cell that a spreadsheet takes for a formula (OWASP, "CSV Injection")."""


class BadFile(PermanentError):
    """The file is not as the payload says; the next attempt would find the same."""


@dataclass(frozen=True, slots=True)
class Order:
    group_by: str
    sum: str | None
    delimiter: str


@dataclass(frozen=True, slots=True)
class Group:
    rows: int
    sum: Decimal


@dataclass(frozen=True, slots=True)
class Summary:
    rows: int
    groups: Mapping[str, Group]


class _Lines:
    """The lines of a file for `csv`, which would collect a row without end."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._of_this_row = 0
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_ROW_CHARACTERS + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self._of_this_row += len(line)
        if self._of_this_row > MAX_ROW_CHARACTERS:
            raise BadFile(f"line {self.number}: a row of more than {MAX_ROW_CHARACTERS} characters")
        return line

    def row_ended(self) -> None:
        self._of_this_row = 0


def summarise(text: TextIO, order: Order) -> Summary:
    """`text` is opened with `newline=""`, as csv wants it.

    Raises:
        BadFile: with the line, counted from 1, and what is wrong there.
    """
    lines = _Lines(text)
    try:
        return _counted(lines, order)
    except csv.Error as error:
        raise BadFile(f"line {lines.number}: {error}") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"not UTF-8, soon after line {lines.number}") from error


def _counted(lines: _Lines, order: Order) -> Summary:
    reader = csv.reader(lines, delimiter=order.delimiter, strict=True)
    header = next(reader, [])
    if not header:
        raise BadFile("line 1: there is no header")
    group_at = _column(header, order.group_by)
    sum_at = None if order.sum is None else _column(header, order.sum)
    rows: dict[str, int] = {}
    sums: dict[str, Decimal] = {}
    width, add, zero = len(header), EXACT.add, Decimal(0)
    for row in reader:
        lines.row_ended()
        if not row:  # a line with nothing in it
            continue
        if len(row) != width:
            raise BadFile(f"line {lines.number}: {len(row)} fields; the header has {width}")
        group = row[group_at]
        if group not in rows:
            _check_new(group, len(rows), lines.number)
        rows[group] = rows.get(group, 0) + 1
        if sum_at is not None:
            sums[group] = add(sums.get(group, zero), _number(row[sum_at], lines.number))
    return Summary(sum(rows.values()), {name: Group(count, sums.get(name, zero)) for name, count in rows.items()})


def _column(header: list[str], name: str) -> int:
    if header.count(name) != 1:
        wrong = "twice" if name in header else "not"
        raise BadFile(f"line 1: the column {name!r} is {wrong} there; columns: {', '.join(header)[:150]}")
    return header.index(name)


def _check_new(group: str, groups: int, line: int) -> None:
    if groups == MAX_GROUPS:
        raise BadFile(f"line {line}: more than {MAX_GROUPS} groups")
    if len(group) > MAX_GROUP_CHARACTERS:
        raise BadFile(f"line {line}: a group of more than {MAX_GROUP_CHARACTERS} characters")


def _number(cell: str, line: int) -> Decimal:
    text = cell.strip()
    if len(text) > MAX_NUMBER_CHARACTERS or not NUMBER.fullmatch(text):
        raise BadFile(f"line {line}: {text[:MAX_NUMBER_CHARACTERS]!r} is no number such as -12.50")
    return Decimal(text)


def as_csv(summary: Summary, order: Order) -> str:
    """A row per group, sorted by name; the same for the same file, whichever attempt writes it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    writer.writerow([harmless(order.group_by), "rows", *(["sum"] if order.sum else [])])
    for name in sorted(summary.groups):
        group = summary.groups[name]
        writer.writerow([harmless(name), group.rows, *([format(group.sum, "f")] if order.sum else [])])
    return out.getvalue()


def harmless(cell: str) -> str:
    """A cell that a spreadsheet would run as a formula gets an apostrophe in front; a number is none."""
    return f"'{cell}" if cell.startswith(FORMULA) and not NUMBER.fullmatch(cell) else cell
