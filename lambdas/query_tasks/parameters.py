"""Query parameters: what they may be, and what is wrong with one that is not. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil, floor
from typing import Any, NoReturn

from lambdas.common.http import HttpError
from lambdas.query_tasks.listing import sort_in

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
MAX_KIND_CHARACTERS = 100
INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
"""RFC 3339, section 5.6."""
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Parameters:
    """The query parameters of a request. Each reader raises HttpError (400) with the name and what is allowed."""

    def __init__(self, event: Mapping[str, Any], allowed: Sequence[str]) -> None:
        """
        Raises:
            HttpError: 400, a parameter is not known, or is there twice.
        """
        given = event.get("multiValueQueryStringParameters") or {}
        single = event.get("queryStringParameters") or {}
        self._given: dict[str, list[str]] = {**{name: [value] for name, value in single.items()}, **given}
        unknown = sorted(set(self._given) - set(allowed))
        if unknown:
            names = ", ".join(repr(name[:100]) for name in unknown[:10])
            bad(f"Unknown query parameter: {names}. Allowed: {', '.join(allowed)}.")
        for name, values in self._given.items():
            if len(values) != 1:
                bad(f"{name} may be given once.")

    def get(self, name: str) -> str | None:
        return self._given[name][0] if name in self._given else None

    def text(self, name: str, longest: int) -> str | None:
        value = self.get(name)
        if value is not None and not 1 <= len(value) <= longest:
            bad(f"{name} must be a text of 1 to {longest} characters.")
        return value

    def choice(self, name: str, allowed: Sequence[str]) -> str | None:
        value = self.get(name)
        if value is not None and value not in allowed:
            bad(f"{name} must be one of: {', '.join(allowed)}.")
        return value

    def flag(self, name: str) -> bool:
        value = self.get(name)
        if value not in (None, "true", "false"):
            bad(f"{name} must be true or false.")
        return value == "true"

    def limit(self) -> int:
        value = self.get("limit")
        if value is None:
            return DEFAULT_LIMIT
        if not re.fullmatch("[1-9][0-9]{0,2}", value) or int(value) > MAX_LIMIT:
            bad(f"limit must be a whole number from 1 to {MAX_LIMIT}.")
        return int(value)

    def cursor(self) -> str | None:
        """The sort key behind which the page begins."""
        value = self.get("cursor")
        sort = None if value is None else sort_in(value)
        if value is not None and sort is None:
            bad("cursor must be one that an answer of this path held; leave it out to begin with the newest.")
        return sort

    def span(self) -> tuple[int | None, int | None]:
        """`from` and `to`, both included, in whole milliseconds since the epoch."""
        begin, end = self._instant("from"), self._instant("to")
        if begin is not None and end is not None and begin > end:
            bad("from must not lie after to.")
        return None if begin is None else ceil(begin), None if end is None else floor(end)

    def _instant(self, name: str) -> Fraction | None:
        """Exact, so that a part of a millisecond is rounded into the span and never out of it."""
        value = self.get(name)
        if value is None:
            return None
        parts = INSTANT.fullmatch(value)
        try:
            at = parts and datetime.fromisoformat(f"{parts[1]}T{parts[2]}{parts[4].upper()}") - EPOCH
        except (ValueError, OverflowError):
            at = None
        if parts is None or at is None:
            bad(f"{name} must be a time with offset, such as 2026-11-24T12:00:00Z (in a URL, write + as %2B).")
        return (at // timedelta(seconds=1) + Fraction(f"0{parts[3] or '.0'}")) * 1000


def bad(message: str) -> NoReturn:
    raise HttpError(400, "invalid_request", message)
