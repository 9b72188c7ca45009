"""Resolve the lock files anew: every file with hashes, none with the host of an index."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from bootstrap import console
from bootstrap.paths import ROOT

LOCKS: Mapping[str, tuple[str, ...]] = {
    "requirements.lock": ("3.11", "pyproject.toml"),
    "requirements-dev.lock": ("3.11", "pyproject.toml", "--extra", "dev", "--group", "lambda"),
    "requirements-lambda.lock": ("3.11", "--group", "lambda"),
    "requirements-embedded.lock": ("3.11", "--group", "embedded"),
    "requirements-security.lock": ("3.11", "--group", "security"),
    "requirements-bench.lock": ("3.11", "--group", "bench"),
    "docker/localstack/tests.lock": ("3.13", "docker/localstack/tests.in"),
}
"""File -> least Python, then sources. `requirements-dev` holds the Lambdas' dependencies too, since the unit tests
import their code. The two other locks of the image follow LocalStack's release: their sources say how."""

COMPILE = (sys.executable, "-m", "uv", "pip", "compile", "--universal", "--generate-hashes", "--no-header", "--quiet")
NO_HOSTS = ("--no-emit-index-url", "--no-emit-find-links")


def main() -> int:
    try:
        return _resolve()
    except KeyboardInterrupt:
        console.fail("Interrupted. What is not told as resolved is as it was.", "`make lock` resolves all anew.")
        return 130


def _resolve() -> int:
    for name, (python, *sources) in LOCKS.items():
        command = [*COMPILE, *NO_HOSTS, "--python-version", python, *sources, "--output-file", name]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            return 1
        print(f"{name} resolved")
    return 0


if __name__ == "__main__":
    sys.exit(main())
