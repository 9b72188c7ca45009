"""Summaries of CSV files: exact, bounded, and told by line when a file is not as it should be."""

from __future__ import annotations

import csv
import io
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError, ResponseStreamingError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from lambdas.common import kinds
from lambdas.common.kinds import JsonObject, Work
from lambdas.common.retry import PermanentError
from lambdas.process_task import kinds as kinds_package
from lambdas.process_task.kinds import csv_summary
from lambdas.process_task.kinds.csv_summary import Bucket, NoSuchObject, OutOfTime, StorageTrouble
from lambdas.process_task.summary import (
    MAX_GROUP_CHARACTERS,
    MAX_GROUPS,
    MAX_ROW_CHARACTERS,
    BadFile,
    Order,
    as_csv,
    harmless,
    summarise,
)

ORDER = Order("city", "amount", ",")
COUNT = Order("city", None, ",")
HEAD = "city,amount\n"


def summary_of(text: str, order: Order = ORDER) -> str:
    """The summary of that file, as CSV."""
    return as_csv(summarise(io.StringIO(text, newline=""), order), order)


# Summaries. -----------------------------------------------------------------------------------------------------------

GOOD: dict[str, tuple[str, Order, str]] = {
    "counted and summed": ("city,amount\nBern,1\nAarau,2\nBern,3\n", ORDER, "city,rows,sum\nAarau,1,2\nBern,2,4\n"),
    "counted alone": ("city,amount\nBern,x\nBern,\n", COUNT, "city,rows\nBern,2\n"),
    "columns in another order": ("a,amount,city\n-,1,Bern\n", ORDER, "city,rows,sum\nBern,1,1\n"),
    "no rows": (HEAD, ORDER, "city,rows,sum\n"),
    "no end of line at the end": ("city,amount\nBern,1", ORDER, "city,rows,sum\nBern,1,1\n"),
    "line ends of Windows": ("city,amount\r\nBern,1\r\n", ORDER, "city,rows,sum\nBern,1,1\n"),
    "line ends of an old Mac": ("city,amount\rBern,1\r", ORDER, "city,rows,sum\nBern,1,1\n"),
    "empty lines": ("city,amount\n\nBern,1\n\n\n", ORDER, "city,rows,sum\nBern,1,1\n"),
    "an empty group": ("city,amount\n,1\n", ORDER, "city,rows,sum\n,1,1\n"),
    "quotes": ('city,amount\n"Bern, ""BE""","1"\n', ORDER, 'city,rows,sum\n"Bern, ""BE""",1,1\n'),
    "a group of two lines": ('city,amount\n"a\nb",1\n', ORDER, 'city,rows,sum\n"a\nb",1,1\n'),
    "semicolons": ("city;amount\nBern;1.5\n", Order("city", "amount", ";"), "city,rows,sum\nBern,1,1.5\n"),
    "tabs": ("city\tamount\nBern\t1\n", Order("city", "amount", "\t"), "city,rows,sum\nBern,1,1\n"),
    "groups that are summed themselves": ("n\n2\n2\n", Order("n", "n", ","), "n,rows,sum\n2,2,4\n"),
    "line separators of Unicode inside a cell": (
        "city,amount\na\u2028b\x85c,1\n",
        COUNT,
        "city,rows\na\u2028b\x85c,1\n",
    ),
}


def test_rows_are_counted_and_summed_by_group() -> None:
    for text, order, expected in GOOD.values():
        rows = list(csv.reader(io.StringIO(summary_of(text, order), newline="")))
        assert rows == list(csv.reader(io.StringIO(expected, newline=""))), text


def test_sums_are_exact_and_written_without_an_exponent() -> None:
    for numbers, total in (
        (["0.1"] * 10, "1.0"),
        (["0.10", "0.2"], "0.30"),
        (["1", "-1"], "0"),
        (["-12.50", "+2.5"], "-10.00"),
        ([".5", "5."], "5.5"),
        ([" 1 ", "2"], "3"),
        (["9" * 40, "." + "0" * 38 + "1"], "9" * 40 + "." + "0" * 38 + "1"),
        (["1" + "0" * 39] * 3, "3" + "0" * 39),
        (["0" * 40], "0"),
        (["0.0000001"], "0.0000001"),
    ):
        text = HEAD + "".join(f"Bern,{number}\n" for number in numbers)
        assert summary_of(text).splitlines()[1] == f"Bern,{len(numbers)},{total}", numbers


NO_NUMBERS = ("", "x", "1,5", "1'000", "1_000", "1e3", "1E999999", "nan", "inf", "-", ".", "٣", "0x1", "1" * 41)
BAD: dict[str, tuple[str, Order, str]] = {
    "nothing": ("", ORDER, "line 1: there is no header"),
    "an empty line in place of the header": ("\nBern,1\n", ORDER, "line 1: there is no header"),
    "no such column": ("town,amount\n", ORDER, "line 1: the column 'city' is not there; columns: town, amount"),
    "no such column to sum": ("city,sum\n", ORDER, "line 1: the column 'amount' is not there; columns: city, sum"),
    "a column twice": ("city,city,amount\n", ORDER, "line 1: the column 'city' is twice there"),
    "another delimiter": ("city;amount\n", ORDER, "line 1: the column 'city' is not there; columns: city;amount"),
    "a field too few": ("city,amount\nBern,1\nAarau\n", ORDER, "line 3: 1 fields; the header has 2"),
    "a field too many": ("city,amount\nBern,1,2\n", COUNT, "line 2: 3 fields; the header has 2"),
    "an open quote": ('city,amount\nBern,1\n"Aarau,2\n', ORDER, "line 3: unexpected end of data"),
    "a quote in between": ('city,amount\n"Be"rn,1\n', ORDER, "line 2: ',' expected after '\"'"),
    "a cell too long for csv": (HEAD + "x" * 200_000 + ",1\n", ORDER, "line 2: field larger than field limit"),
    "a group too long": (HEAD + "x" * 257 + ",1\n", ORDER, f"line 2: a group of more than {MAX_GROUP_CHARACTERS} char"),
    **{f"{number!r} for a number": (f'{HEAD}Bern,1\n\nBern,"{number}"\n', ORDER, "line 4: ") for number in NO_NUMBERS},
}


def test_a_bad_file_is_told_by_its_line() -> None:
    for text, order, error in BAD.values():
        with pytest.raises(BadFile) as raised:
            summary_of(text, order)
        assert str(raised.value).startswith(error), text
        assert len(str(raised.value)) < 280, "the error is cut where it is stored"
        assert isinstance(raised.value, PermanentError), text


def test_a_bad_number_is_shown() -> None:
    with pytest.raises(BadFile, match=r"^line 2: '1,5' is no number such as -12\.50$"):
        summary_of('city,amount\nBern,"1,5"\n')


def test_so_many_groups_and_no_more() -> None:
    text = HEAD + "".join(f"{n},1\n" for n in range(MAX_GROUPS))
    assert summarise(io.StringIO(text), ORDER).rows == MAX_GROUPS
    assert summarise(io.StringIO(f"{text}7,1\n"), ORDER).rows == MAX_GROUPS + 1
    with pytest.raises(BadFile, match=f"^line {MAX_GROUPS + 2}: more than {MAX_GROUPS} groups$"):
        summarise(io.StringIO(f"{text}one more,1\n"), ORDER)


class Endless(io.TextIOBase):
    """`first`, then one piece of text again and again: a line each, or all of them one line."""

    def __init__(self, first: str, text: str) -> None:
        self._first, self._text, self.read_characters = first, text, 0

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]  # of text, not of bytes
        assert size is not None
        assert size > 0, "a line without end is read whole"
        line = self._text if self._text.endswith("\n") else (self._text * size)[:size]
        line, self._first = self._first + line, ""
        self.read_characters += len(line)
        return line


@pytest.mark.parametrize(
    ("first", "text"),
    [("", "x"), ("", "x,"), ('"', "x\n"), ('"x\n', '","x\n')],
    ids=["a cell", "cells", "a quoted cell", "quoted cells of two lines each"],
)
def test_a_row_without_end_is_given_up(first: str, text: str) -> None:
    endless = Endless(first, text)
    with pytest.raises(BadFile, match=r"^line \d+: (a row of more than \d+ characters|field larger than field limit)"):
        summarise(cast(Any, endless), ORDER)
    assert endless.read_characters <= MAX_ROW_CHARACTERS + 8


def test_a_cell_that_a_spreadsheet_would_run_is_written_as_text() -> None:
    for cell, written in (
        ("Bern", "Bern"),
        ("", ""),
        ("a=b", "a=b"),
        ("=1+1", "'=1+1"),
        ('=HYPERLINK("http://a.example")', '\'=HYPERLINK("http://a.example")'),
        ("+41 31", "'+41 31"),
        ("-x", "'-x"),
        ("-1-1", "'-1-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("\uff1d1+1", "'\uff1d1+1"),  # a full-width equals sign
        ("-5", "-5"),
        ("+5.50", "+5.50"),
        ("-", "'-"),
    ):
        assert harmless(cell) == written, cell
        quoted = cell.replace('"', '""')
        rows = list(
            csv.reader(io.StringIO(summary_of(f'"{quoted}",n\n"{quoted}",1\n', Order(cell, "n", ",")), newline=""))
        )
        assert rows == [[written, "rows", "sum"], [written, "1", "1"]], cell


# The payload. ---------------------------------------------------------------------------------------------------------


def payload_error(payload: JsonObject) -> str | None:
    found = kinds.load(kinds_package).get("csv-summary")
    assert found is not None
    return found.payload_error(payload)


OK = {"key": "in/orders.csv", "groupBy": "city"}


@pytest.mark.parametrize(
    "payload",
    [OK, {**OK, "sum": "amount", "delimiter": ";"}, {**OK, "key": "in/a/..b/c..csv"}, {**OK, "key": "in/für 2026.csv"}],
    ids=str,
)
def test_a_payload_is_taken(payload: JsonObject) -> None:
    assert payload_error(payload) is None


def test_a_payload_that_is_not_taken_is_told_by_its_field() -> None:
    payloads: tuple[tuple[JsonObject, str], ...] = (
        ({"key": "in/x"}, "payload must contain"),
        ({"groupBy": "x"}, "payload must contain"),
        *(
            ({**OK, "key": key}, "payload.key must")
            for key in (
                "",
                "in/",
                "in",
                "out/x",
                "/in/x",
                "x/in/x",
                "in/../out/x",
                "in/..",
                "in/a/./b",
                "in/a/..",
                "in/x\n",
                "in/a\nb",
                "in/" + "x" * 1022,
            )
        ),
        ({**OK, "groupBy": ""}, "payload.groupBy must"),
        ({**OK, "groupBy": "x" * 257}, "payload.groupBy must"),
        ({**OK, "sum": None}, "payload.sum must"),
        ({**OK, "delimiter": "x"}, "payload.delimiter must"),
        ({**OK, "delimiter": ",,"}, "payload.delimiter must"),
        ({**OK, "bucket": "x"}, "payload must not contain"),
    )
    for payload, field in payloads:
        assert (payload_error(payload) or "").startswith(field), payload


# S3. ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3() -> Iterator[Stubber]:
    client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        yield stub


def summarised(s3: Stubber, remaining: Callable[[], float] = lambda: 20.0, attempt: int = 1) -> JsonObject:
    work = Work("task-1", {**OK, "sum": "amount"}, attempt, 1, remaining)
    return csv_summary.summarised(work, Bucket(cast(Any, s3.client), "data"))


def body(data: bytes) -> StreamingBody:
    return StreamingBody(io.BytesIO(data), len(data))


def holds(s3: Stubber, data: bytes) -> None:
    answer = {"Body": body(data), "ContentLength": len(data)}
    s3.add_response("get_object", answer, {"Bucket": "data", "Key": "in/orders.csv"})


def takes(s3: Stubber, text: bytes) -> None:
    request = {"Bucket": "data", "Key": "out/task-1.csv", "Body": text, "ContentType": "text/csv; charset=utf-8"}
    s3.add_response("put_object", {}, request)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "a byte order mark"])
def test_a_summary_is_written_to_the_same_place_by_each_attempt(s3: Stubber, mark: bytes) -> None:
    for attempt in (1, 2):
        holds(s3, mark + "city,amount\nZürich,1\nBern,2\n".encode())
        takes(s3, "city,rows,sum\r\nBern,1,2\r\nZürich,1,1\r\n".encode())
        assert summarised(s3, attempt=attempt) == {"rows": 2, "groups": 2, "output": "out/task-1.csv"}
    s3.assert_no_pending_responses()


@pytest.mark.parametrize(
    "data", [HEAD.encode() + b"Z\xfcrich,1\n", "city,amount\n".encode("utf-16"), HEAD.encode() + "Zü".encode()[:-1]]
)
def test_what_is_not_utf_8_is_a_bad_file_and_nothing_is_written(s3: Stubber, data: bytes) -> None:
    holds(s3, data)
    with pytest.raises(BadFile, match="not UTF-8, soon after line"):
        summarised(s3)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("NoSuchKey", 404, NoSuchObject),
        ("AccessDenied", 403, NoSuchObject),
        ("404", 404, NoSuchObject),
        ("403", 403, NoSuchObject),
        ("NoSuchBucket", 404, StorageTrouble),
        ("SlowDown", 503, StorageTrouble),
        ("InternalError", 500, StorageTrouble),
        ("InvalidObjectState", 403, StorageTrouble),
    ],
)
def test_an_object_that_is_not_there_is_no_trouble_of_s3(
    s3: Stubber, code: str, status: int, error: type[Exception]
) -> None:
    s3.add_client_error("get_object", code, http_status_code=status)
    with pytest.raises(error, match=rf"^reading in/orders\.csv: .*{code}"):
        summarised(s3)
    assert issubclass(error, PermanentError) is (error is NoSuchObject)


@pytest.mark.parametrize("code", ["AccessDenied", "SlowDown"])
def test_a_summary_that_cannot_be_written_may_be_written_next_time(s3: Stubber, code: str) -> None:
    holds(s3, b"city,amount\n")
    s3.add_client_error("put_object", code)
    with pytest.raises(StorageTrouble, match=rf"^writing out/task-1\.csv: S3 answered {code}$"):
        summarised(s3)


class Broken:
    """A body that ends with an error after so many bytes."""

    def __init__(self, error: Exception) -> None:
        self._left, self._error = [HEAD.encode()], error

    def read(self, amt: int | None = None) -> bytes:
        if self._left:
            return self._left.pop()
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url="http://a.example/secret"),
        ResponseStreamingError(error="secret"),
        EndpointConnectionError(endpoint_url="http://a.example/secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_read_that_breaks_off_may_go_on_to_the_end_next_time(error: Exception) -> None:
    raw = csv_summary.Watched(Broken(error), 99, lambda: 20.0)
    with pytest.raises(StorageTrouble) as raised:
        summarise(io.TextIOWrapper(io.BufferedReader(raw), newline=""), ORDER)
    assert str(raised.value) == f"after 12 of 99 bytes: {type(error).__name__}"


def test_a_file_too_long_for_the_time_is_given_up_with_how_far_it_got(s3: Stubber) -> None:
    data = HEAD.encode() + b"Bern,1\n" * 100_000
    left = iter([20.0, 3.0, 2.0, 1.9])
    holds(s3, data)
    with pytest.raises(OutOfTime, match=rf"^gave up after 24576 of {len(data)} bytes: raise PROCESS_TIMEOUT_SECONDS$"):
        summarised(s3, lambda: next(left))


def test_a_long_file_takes_no_more_memory_than_a_short_one() -> None:
    """Rows are counted as they come: many of them, in a part of their size."""
    line = b"Bern,1.25\n"

    class Rows:
        def __init__(self) -> None:
            self.left = 400_000

        def read(self, amt: int | None = None) -> bytes:
            assert amt is not None
            given = min(amt - amt % len(line), self.left)
            self.left -= given
            return line * (given // len(line))

    raw = io.BufferedReader(csv_summary.Watched(Rows(), 400_000, lambda: 20.0))
    tracemalloc.start()
    try:
        found = summarise(io.TextIOWrapper(raw, newline=""), Order("Bern", "1.25", ","))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.rows == 39_999
    assert most < 100_000
