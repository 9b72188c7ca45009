"""The checkers of `make check`: what they are told to leave has a reason, and what is installed is what was locked."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

from bootstrap import preflight, settings
from bootstrap.kinds import Kind
from bootstrap.paths import ROOT
from scripts import lock, security

ALL_LOCKS = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.lock"), *ROOT.glob("docker/*/*.lock")))
PIN = re.compile(r"^[A-Za-z0-9][\w.-]*(\[[\w,-]+\])?==[\w.+!]+")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")


def requirements(text: str) -> list[str]:
    """Each with the lines that belong to it, comments left out."""
    lines = [line.split(" #")[0] for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [one for one in re.split(r"\n(?=\S)", "\n".join(lines)) if one.strip()]


def test_every_requirement_is_pinned_to_hashes_and_none_names_an_index() -> None:
    for name in ALL_LOCKS:
        text = (ROOT / name).read_text()
        found = requirements(text)
        assert found, name
        assert [one for one in found if not PIN.match(one) or not HASH.search(one)] == [], name
        assert re.findall(r"://|--(?:index|extra-index|find-links|trusted-host)\S*", text) == [], name


def test_a_requirement_without_a_hash_would_be_seen() -> None:
    good = f"a==1 \\\n    --hash=sha256:{'0' * 64}\n    # via b\n"
    assert [bool(HASH.search(one)) for one in requirements(good + "b==2\n")] == [True, False]
    assert not PIN.match("a>=1")


def test_every_check_that_is_left_out_has_its_reason_beside_it() -> None:
    left_out = [line for line in security.CHECKOV.read_text().splitlines() if line.strip().startswith("- ")]
    assert left_out
    assert [line for line in left_out if not re.fullmatch(r"  - CKV2?_AWS_\d+ # \S.{20,}", line)] == []
    assert all(reason for reason in security.ACCEPTED.values())


def test_the_policies_are_linted_as_they_would_be_deployed() -> None:
    kind = Kind("deposit", None, None, ("accounts",))
    system = preflight.system(settings.fitted(settings.read({}), [kind]), [kind], date(2026, 11, 24))
    documents = security.documents(system)
    assert len(documents) == len(system.functions)
    assert "${Task" not in str(documents), "an ARN is not filled in"
    assert "Reference(" not in str(documents)
    assert "arn:aws:dynamodb:eu-west-1:123456789012:table/dev-tasks/index/by-class" in str(documents)
    assert "arn:aws:dynamodb:eu-west-1:123456789012:table/dev-accounts" in str(documents)


@pytest.mark.parametrize("code", [0, 1])
def test_a_checker_that_fails_without_a_word_is_a_finding(tmp_path: Path, code: int) -> None:
    command = tmp_path / "detect-secrets-hook"
    command.write_text(f"#!/bin/sh\nexit {code}\n")
    command.chmod(0o755)
    assert bool(security.secrets(tmp_path)) is bool(code)


def test_the_secret_scan_sees_new_files_and_not_its_own_baseline(tmp_path: Path) -> None:
    command = tmp_path / "detect-secrets-hook"
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 1\n')
    command.chmod(0o755)
    looked_at = security.secrets(tmp_path)[2:]  # behind --baseline and its value
    there = {path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.toml"), *ROOT.glob("scripts/**/*.py"))}
    assert there <= set(looked_at)
    assert security.BASELINE.name not in looked_at
    assert not [name for name in looked_at if name.startswith((".venv/", ".local/"))]


@pytest.mark.parametrize(("command", "interrupted"), [(lock, "subprocess.run"), (security, "environments.python")])
def test_ctrl_c_ends_it_with_130_and_what_to_type_next(
    command: ModuleType, interrupted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{command.__name__}.{interrupted}", interrupt)
    assert command.main() == 130
    said, hint = capsys.readouterr().err.splitlines()
    assert said.startswith("error: Interrupted.")
    assert hint.startswith("  next: `make ")
