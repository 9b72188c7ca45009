"""docs/parity.md: what each local AWS does, from what the probes saw.

python -m bootstrap.doctor.parity EMBEDDED.json LOCALSTACK.json > docs/parity.md

The two files are what `python -m bootstrap doctor --json` prints on each.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bootstrap.paths import ROOT

PAGE = ROOT / "docs" / "parity.md"
BACKENDS = ("embedded", "localstack")
HEAD = """# What the local AWSs do, and what AWS does

Each line is a behaviour of AWS that a named part of this system depends on, probed by `make doctor`. A test runs every
probe on both local AWSs and compares the verdicts with this page. Embedded: MiniStack 1.5.33. LocalStack: 4.14.0, our
own image. What AWS does comes from the linked page; no AWS account was used. Seen on 2026-11-24.

| behaviour | AWS | embedded | LocalStack |
| --- | --- | --- | --- |
"""
MEANING = """
## What a difference means here

"""


def page(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The page, from the results of each backend."""
    other = {result["name"]: result for result in results["localstack"]}
    rows = [_row(first, other[first["name"]]) for first in results["embedded"]]
    apart = [r for r in results["embedded"] if "differs" in (r["verdict"], other[r["name"]]["verdict"])]
    return HEAD + "\n".join(rows) + "\n" + MEANING + "\n".join(_meaning(r, other[r["name"]]) for r in apart) + "\n"


def _row(embedded: Mapping[str, Any], localstack: Mapping[str, Any]) -> str:
    rule = f"{embedded['rule']} [AWS]({embedded['page']})"
    return f"| `{embedded['name']}` | {_cell(rule)} | {embedded['verdict']} | {localstack['verdict']} |"


def _meaning(embedded: Mapping[str, Any], localstack: Mapping[str, Any]) -> str:
    seen = [f"{name}: {result['seen']}" for name, result in (("embedded", embedded), ("LocalStack", localstack))
            if result["verdict"] == "differs"]  # fmt: skip
    return f"- `{embedded['name']}`: {embedded['depends']} Seen on {'; on '.join(seen)}."


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def recorded() -> dict[str, dict[str, str]]:
    """Verdicts that the page holds: probe -> backend -> verdict."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| .* \| ([a-zA-Z ]+) \| ([a-zA-Z ]+) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: dict(zip(BACKENDS, verdicts, strict=True)) for name, *verdicts in rows}


def main() -> int:
    files = dict(zip(BACKENDS, map(Path, sys.argv[1:3]), strict=True))
    print(page({name: json.loads(path.read_text()) for name, path in files.items()}), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
