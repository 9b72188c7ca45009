"""Resolve the lock files anew from pyproject.toml: every file with hashes, none with the host of an index."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from bootstrap.paths import ROOT

LOCKS: Mapping[str, tuple[str, ...]] = {
    "requirements.lock": ("pyproject.toml",),
    "requirements-dev.lock": ("pyproject.toml", "--extra", "dev", "--group", "lambda"),
    "requirements-lambda.lock": ("--group", "lambda"),
    "requirements-embedded.lock": ("--group", "embedded"),
}
"""`requirements-dev` holds the Lambdas' dependencies too, since the unit tests import their code."""

OPTIONS = (
    "--universal",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-emit-find-links",
)


def main() -> int:
    for name, sources in LOCKS.items():
        command = [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            *sources,
            *OPTIONS,
            "--no-header",
            "--quiet",
            "-o",
            name,
        ]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            return 1
        print(f"{name} resolved")
    return 0


if __name__ == "__main__":
    sys.exit(main())
