"""API Gateway's proxy events and responses (REST API, Lambda proxy integration).

Every answer carries HEADERS. A web page of another origin may read it only if CORS_ORIGINS lists that origin; without
any, no answer has a CORS header.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict


class Response(TypedDict):
    statusCode: int
    headers: dict[str, str]
    body: str


class HttpError(Exception):
    """A request that is answered with an error of this status and code."""

    def __init__(self, status: int, code: str, message: str, allow: str | None = None) -> None:
        """`allow` is the method that a 405 must name in its header (RFC 9110, section 15.5.6)."""
        super().__init__(message)
        self.status, self.code, self.message, self.allow = status, code, message, allow


HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # API Gateway itself takes no plain HTTP; a domain of one's own in front of it may. Browsers ignore it over HTTP.
    "Strict-Transport-Security": "max-age=31536000",
}
"""OWASP REST Security Cheat Sheet, "Security headers". What API Gateway itself answers has them, too."""
REQUEST_HEADERS = "content-type, x-api-key"
"""What a page may send beside what every page may (Fetch standard, "CORS-safelisted request-header")."""


@dataclass(frozen=True, slots=True)
class Cors:
    """Whose pages may call the API from a browser (Fetch standard, "CORS protocol")."""

    origins: tuple[str, ...]

    def answer(self, event: Mapping[str, Any], response: Response) -> Response:
        """The response, readable for the page that asked if its origin is listed."""
        if not self.origins:
            return response
        # A cache must not hand the answer for one origin to a page of another.
        headers = {**response["headers"], "Vary": "Origin", **self._allowed(event)}
        return {**response, "headers": headers}

    def preflight(self, event: Mapping[str, Any], methods: str) -> Response | None:
        """What a browser asks before it lets a page send its request; None for a page that may not."""
        if not self._allowed(event):
            return None
        allowed = {"Access-Control-Allow-Methods": methods, "Access-Control-Allow-Headers": REQUEST_HEADERS}
        headers = {**HEADERS, **allowed, "Access-Control-Max-Age": "600"}
        return {"statusCode": 204, "headers": headers, "body": ""}

    def _allowed(self, event: Mapping[str, Any]) -> dict[str, str]:
        given = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        origin = given.get("origin")
        return {"Access-Control-Allow-Origin": origin} if origin in self.origins else {}


def json_response(status: int, document: Mapping[str, Any], raw: Mapping[str, str] | None = None) -> Response:
    """`raw` members hold JSON text that goes out as it is: numbers a Python float would round stay intact."""
    members = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in document.items()]
    members += [f"{json.dumps(name)}: {text}" for name, text in (raw or {}).items()]
    return {"statusCode": status, "headers": dict(HEADERS), "body": "{" + ", ".join(members) + "}"}


def error_response(error: HttpError) -> Response:
    response = json_response(error.status, {"error": {"code": error.code, "message": error.message}})
    if error.allow is not None:
        response["headers"]["Allow"] = error.allow
    return response


def body_of(event: Mapping[str, Any]) -> str:
    """The request body as text.

    Raises:
        HttpError: 400 when it is not UTF-8.
    """
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body)
    try:
        return base64.b64decode(body, validate=True).decode()
    except ValueError:  # no base64, or no UTF-8
        raise HttpError(400, "invalid_body", "The body must be JSON text in UTF-8.") from None


def iso(at_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
