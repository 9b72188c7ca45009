"""The checkers of `make check` for what is unsafe in templates, policies and files; in an environment of their own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bootstrap import console, environments, kinds, package, preflight, settings
from bootstrap.paths import ROOT, cache_dir
from bootstrap.rules.system import System
from bootstrap.template import Reference

LOCK = ROOT / "requirements-security.lock"
CHECKOV = ROOT / ".checkov.yaml"
BASELINE = ROOT / ".secrets.baseline"
TEMPLATES = (ROOT / "bootstrap" / "storage.yaml", ROOT / "bootstrap" / "app.yaml")
ACCEPTED: Mapping[str, str] = {
    "SweepTasksRole: RESOURCE_MISMATCH [{'action': 'lambda:ListEventSourceMappings', 'required_format': '*'}]": (
        "MiniStack asks for it where AWS asks for GetEventSourceMapping; so written, AWS grants nothing by it"
    )
}
"""Findings in policies that are left, each with its reason. One that is found no more is an error, too."""
ARN = "arn:aws:{service}:eu-west-1:123456789012:{resource}"

Problems = Sequence[str]
Gate = Callable[[Path], Problems]
"""Given the folder of the checkers' commands: what is wrong."""


def templates(commands: Path) -> Problems:
    """Checkov; what has passed once is not looked at again until it changes."""
    passed = cache_dir() / f"checkov-{_hash(LOCK, CHECKOV, *TEMPLATES)}"
    if passed.exists():
        return []
    done = _run([commands / "checkov", "--config-file", CHECKOV])
    if done.returncode == 0:
        passed.touch()
    return _said(done)


def policies(commands: Path) -> Problems:
    """Parliament on every policy of a role, as it would be deployed."""
    deployed = package.install_dependencies()
    found = kinds.read(deployed)
    system = preflight.system(settings.fitted(settings.read({}), found), found, datetime.now(UTC).date())
    done = _run([commands / "python", "-W", "ignore", ROOT / "scripts" / "policies.py"], json.dumps(documents(system)))
    said = _said(done)
    new = [line for line in said if line not in ACCEPTED]
    return [*new, *(f"accepted, but found no more: {line}" for line in ACCEPTED if line not in said)]


def documents(system: System) -> dict[str, Any]:
    """Role -> its policy document, with ARNs in the place of what only a deployment knows."""
    return {
        role.name: _filled(policy["PolicyDocument"], system)
        for role in system.of_type("AWS::IAM::Role")
        for policy in role.properties["Policies"]
    }


def _filled(value: Any, system: System) -> Any:
    match value:
        case dict():
            return {name: _filled(part, system) for name, part in value.items()}
        case list():
            return [_filled(part, system) for part in value]
        case Reference():
            return _arn(value.resource, system)
        case str() if value.startswith("${"):  # an ARN with something behind it
            name, _, rest = value[2:].partition("}")
            return _arn(name.partition(".")[0], system) + rest
    return value


def _arn(name: str, system: System) -> str:
    made = system.resources[name]
    match made.type:
        case "AWS::DynamoDB::Table":
            return ARN.format(service="dynamodb", resource=f"table/{made.properties['TableName']}")
        case "AWS::SQS::Queue":
            return ARN.format(service="sqs", resource=made.properties["QueueName"])
    raise ValueError(f"a policy names {name}, and nobody has said how the ARN of {made.type} looks")


def secrets(commands: Path) -> Problems:
    """detect-secrets on every file that git knows, or would take.

    Without its search for words such as `token`, which here finds fencing tokens only; in Python, ruff's S105 to S107
    look for those. The baseline holds no finding: it says which detectors run, and which key is AWS's own example.
    """
    listed = _run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    if listed.returncode:
        return ["The secret scan needs a git checkout: it looks at the files that git knows."]
    files = [name for name in listed.stdout.split("\0") if (ROOT / name).is_file() and name != BASELINE.name]
    return _said(_run([commands / "detect-secrets-hook", "--baseline", BASELINE, *files]))


GATES: Mapping[str, Gate] = {"templates": templates, "policies": policies, "secrets": secrets}


def _hash(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _run(command: Sequence[Path | str], given: str | None = None) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    offline = {**os.environ, "LOG_LEVEL": "ERROR"}
    return subprocess.run(words, cwd=ROOT, env=offline, input=given, capture_output=True, text=True, check=False)


def _said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Nothing when all is well."""
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return [] if done.returncode == 0 else lines or [f"{done.args[0]} ended with {done.returncode}"]


def _report(results: Iterator[tuple[str, Problems]]) -> int:
    code = 0
    for name, problems in results:
        print(f"security: {name}: {len(problems) or 'no'} finding{'' if len(problems) == 1 else 's'}")
        for problem in problems:
            print(f"  {problem}")
        code = code or bool(problems)
    return int(code)


def main() -> int:
    try:
        return _check()
    except KeyboardInterrupt:
        console.fail("Interrupted.", "`make check` begins again.")
        return 130


def _check() -> int:
    commands = environments.python("security", LOCK, "the security checkers").parent
    with ThreadPoolExecutor() as pool:
        return _report(zip(GATES, pool.map(lambda gate: gate(commands), GATES.values()), strict=True))


if __name__ == "__main__":
    sys.exit(main())
