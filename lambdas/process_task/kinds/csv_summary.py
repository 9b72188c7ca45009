"""Count and sum the rows of a CSV file by group: `csv-summary`.

The file lies in the data bucket of the stage (DataBucket in bootstrap/storage.yaml) under `in/`; the summary is written
to `out/<taskId>.csv`: to the same place by each attempt, so that doing it again is harmless.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from lambdas.common.kinds import JsonObject, Work, kind
from lambdas.common.retry import PermanentError
from lambdas.common.settings import Environment

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from mypy_boto3_s3 import S3Client

COLUMN = {"type": "string", "minLength": 1, "maxLength": 256}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["key", "groupBy"],
    "properties": {
        "key": {"type": "string", "maxLength": 1024, "pattern": r"^in/(?!(.*/)?\.{1,2}(/|$))[^\x00-\x1f\x7f]+$"},
        "groupBy": COLUMN,
        "sum": COLUMN,
        "delimiter": {"enum": [",", ";", "\t", "|"]},
    },
}
KEPT_SECONDS = 2.0
"""Of the attempt's time, to write the summary and to end."""
NOT_THERE = frozenset({"NoSuchKey", "404", "AccessDenied", "403"})
"""S3 tells that an object is not there only to who may list the bucket; others are denied (S3 API, GetObject)."""


class NoSuchObject(PermanentError):
    """There is nothing under that key."""


class StorageTrouble(Exception):
    """S3 failed. Another attempt may succeed."""


class OutOfTime(Exception):
    """The file is too long for the time of one attempt, or S3 was slow."""


class Body(Protocol):
    def read(self, amt: int | None = None) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Bucket:
    client: S3Client
    name: str


@cache
def bucket() -> Bucket:
    from lambdas.common import aws  # SubmitTask loads the kinds, too, and never makes this client

    return Bucket(aws.s3(), Environment(os.environ).text("DATA_BUCKET"))


@kind("csv-summary", schema=SCHEMA)
def run(work: Work) -> JsonObject:
    return summarised(work, bucket())


def summarised(work: Work, bucket: Bucket) -> JsonObject:
    # Only ProcessTask works, and only its package holds this.
    from lambdas.process_task.summary import Order, as_csv, summarise

    payload = work.payload
    order = Order(payload["groupBy"], payload.get("sum"), payload.get("delimiter", ","))
    with opened(bucket, payload["key"], work.remaining_seconds) as text:
        summary = summarise(text, order)
    output = f"out/{work.task_id}.csv"
    write(bucket, output, as_csv(summary, order))
    return {"rows": summary.rows, "groups": len(summary.groups), "output": output}


class Watched(io.RawIOBase):
    """The bytes of an object as they come, for as long as there is time."""

    def __init__(self, body: Body, size: int, remaining: Callable[[], float]) -> None:
        self._body, self._size, self._remaining = body, size, remaining
        self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self._remaining() < KEPT_SECONDS:
            raise OutOfTime(f"gave up after {self._done} of {self._size} bytes: raise PROCESS_TIMEOUT_SECONDS")
        view = memoryview(buffer).cast("B")
        piece = _asked(lambda: self._body.read(len(view)), f"after {self._done} of {self._size} bytes")
        view[: len(piece)] = piece
        self._done += len(piece)
        return len(piece)


def opened(bucket: Bucket, key: str, remaining: Callable[[], float]) -> io.TextIOWrapper:
    """Its text, from UTF-8 with or without a byte order mark; line ends as they are.

    Raises:
        NoSuchObject, StorageTrouble: at once. OutOfTime, StorageTrouble: while it is read.
    """
    answer = _asked(lambda: bucket.client.get_object(Bucket=bucket.name, Key=key), f"reading {key}")
    raw = Watched(answer["Body"], answer["ContentLength"], remaining)
    return io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8-sig", newline="")


def write(bucket: Bucket, key: str, text: str) -> None:
    put = bucket.client.put_object
    _asked(
        lambda: put(Bucket=bucket.name, Key=key, Body=text.encode(), ContentType="text/csv; charset=utf-8"),
        f"writing {key}",
    )


def _asked(call: Callable[[], Any], what: str) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return call()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code in NOT_THERE and what.startswith("reading"):
            raise NoSuchObject(f"{what}: there is no such object ({code})") from error
        raise StorageTrouble(f"{what}: S3 answered {code}") from error
    except BotoCoreError as error:
        raise StorageTrouble(f"{what}: {type(error).__name__}") from error
