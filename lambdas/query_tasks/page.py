"""GET /: the dashboard, as one page.

The page is a shell without data: it asks the API for everything, with the key that its reader gives it. So it needs no
key itself. Its policy allows this page's own styles and scripts, by their hashes, and requests to its own origin.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lambdas.common.http import HEADERS, Response

FOLDER = Path(__file__).parent / "page"
PARTS = re.compile(r'<link rel="stylesheet" href="([a-z]+\.css)">|<script src="([a-z]+\.js)"></script>')
"""Where index.html names a file beside it. They travel inside the page: one request instead of ten."""


@dataclass(frozen=True, slots=True)
class Page:
    body: str
    headers: Mapping[str, str]

    def answer(self, event: Mapping[str, Any]) -> Response:
        """The page, or 304: the browser has it already (RFC 9110, section 13.1.2)."""
        given = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        # A proxy that compresses an answer makes its tag a weak one (W/"…"); it still means the same page.
        known = {tag.strip().removeprefix("W/") for tag in str(given.get("if-none-match") or "").split(",")}
        fresh = self.headers["ETag"] in known
        return {"statusCode": 304 if fresh else 200, "headers": dict(self.headers), "body": "" if fresh else self.body}


@cache
def page() -> Page:
    """Put together once per warm function."""
    return assemble((FOLDER / "index.html").read_text(), {path.name: path.read_text() for path in FOLDER.iterdir()})


def assemble(html: str, files: Mapping[str, str]) -> Page:
    """`html` with the styles and scripts that it names, and the headers that allow these and no others."""
    named = [found[1] or found[2] for found in PARTS.finditer(html)]
    body = PARTS.sub(lambda found: _inlined(found[1] or found[2], files), html)
    headers = {
        **HEADERS,
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-cache",  # keep it, and ask each time whether it is still the one
        "ETag": f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"',
        "Content-Security-Policy": policy({name: files[name] for name in named}),
        "Referrer-Policy": "no-referrer",
    }
    return Page(body, headers)


def policy(files: Mapping[str, str]) -> str:
    """Content Security Policy, level 3. What it does not name is forbidden by `default-src`."""
    styles = [_hash(text) for name, text in files.items() if name.endswith(".css")]
    scripts = [_hash(text) for name, text in files.items() if name.endswith(".js")]
    rules = {
        "default-src": ["'none'"],
        "style-src": styles,
        "script-src": scripts,
        "connect-src": ["'self'"],
        "img-src": ["data:"],  # the icon
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        # Text never becomes code or markup: a script that tries it fails, and no policy may allow it (Trusted Types).
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }
    return "; ".join(" ".join([name, *values]) for name, values in rules.items())


def _inlined(name: str, files: Mapping[str, str]) -> str:
    element = "style" if name.endswith(".css") else "script"
    return f"<{element}>{files[name]}</{element}>"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
