"""GET /openapi.json: docs/openapi.yaml with the kinds of task, which the build puts beside this file as JSON."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lambdas.common.http import HEADERS, Response

FILE = Path(__file__).with_name("openapi.json")


@cache
def description() -> str:
    return FILE.read_text()


def answer() -> Response:
    return {"statusCode": 200, "headers": dict(HEADERS), "body": description()}
