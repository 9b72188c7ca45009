"""`make walkthrough`: what the documents say is done as written, and each block says whether it is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bootstrap.paths import ROOT
from scripts.walkthrough import Block, blocks, documents, environment, script, walk
from tests.support.processes import heeds_ctrl_c
from tests.support.waiting import eventually

MARKS = {"run", "aws", "interactive", "slow", "fragment"}
"""Why a block is not run: it is for an account, waits for a person, is run by CI alone, or is part of something."""
SHELL = [
    (f"{path.relative_to(ROOT)}:{block.line}", block)
    for path in documents(ROOT)
    for block in blocks(path.read_text())
    if block.language == "sh"
]


# The documents. -------------------------------------------------------------------------------------------------------


def test_each_block_of_commands_is_run_or_says_why_not() -> None:
    for block in [block for _, block in SHELL]:
        assert len(MARKS & set(block.marks)) == 1, f"its fence needs one of {sorted(MARKS)} behind `sh`"


def test_no_block_of_commands_goes_without_its_language() -> None:
    for path in documents(ROOT):
        for block in blocks(path.read_text()):
            assert block.language in ("sh", "console") or not _commands(block), f"{path}:{block.line}"


def _commands(block: Block) -> bool:
    return any(re.match(r"(make|\.venv/bin/\S+|aws|awslocal|git clone) ", line) for line in block.text)


def test_what_would_never_end_or_reach_an_account_is_not_run() -> None:
    endless = re.compile(r"^make (watch|debug|dashboard|logs FOLLOW=1)\b|^make \S+-aws|^aws |TARGET=aws", re.MULTILINE)
    for name, block in SHELL:
        assert "run" not in block.marks or not endless.search("\n".join(block.text)), name


# From a document to a script. -----------------------------------------------------------------------------------------

PAGE = """# Title

```sh run
git clone <this repository> task-processing
A=1
```

```sh aws
aws s3 ls
```

```console run
$ echo $A
1
$ echo two
```

```python save=kinds/new.py
print('it says "$A"')
```

```text
echo never
```
"""


def test_a_line_of_the_script_is_a_line_of_the_document() -> None:
    written, made = PAGE.splitlines(), script(PAGE, Path("/some where")).splitlines()
    assert len(written) == len(made)
    runs = {number: line for number, line in enumerate(made, 1) if line}
    assert runs == {
        4: "git clone '/some where' task-processing",
        5: "A=1",
        13: "echo $A",
        15: "echo two",
        18: "mkdir -p $(dirname kinds/new.py); cat > kinds/new.py <<'END-OF-SAVED-FILE'",
        19: written[18],
        20: "END-OF-SAVED-FILE",
    }


def test_somebody_new_has_no_settings_and_no_account() -> None:
    mine = {
        "AWS_PROFILE": "me",
        "STAGE": "prod",
        "FAILURE_RATE": "1",
        "MAKEFLAGS": "-n",
        "LOCAL_DIR": "x",
        "HOME": "/h",
    }
    assert environment(mine, 4711, "project") == {
        "HOME": "/h",
        "TARGET": "embedded",
        "EDGE_PORT": "4711",
        "LOCALSTACK_HOST": "localhost:4711",
        "COMPOSE_PROJECT_NAME": "project",
    }
    assert environment({"TARGET": "localstack"}, 1, "p")["TARGET"] == "localstack"


# A walk. --------------------------------------------------------------------------------------------------------------

MAKEFILE = """
up:
\t@mkdir -p .local && echo up > .local/state
down:
\t@echo down in $(CURDIR) >> "$(DIARY)"
"""
README = """Begin:

```sh run
git clone <this repository> task-processing
cd task-processing
make up
HERE=1
```

```sh run
echo "$HERE $PWD" >> "$DIARY"
```
"""

Repository = Callable[..., Path]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Makes a repository of these documents, by name."""

    def make(pages: Mapping[str, str]) -> Path:
        root = tmp_path / "repository"
        (root / "docs").mkdir(parents=True)
        for name, text in {"README.md": README, "CONTRIBUTING.md": "", "Makefile": MAKEFILE, **pages}.items():
            (root / name).write_text(text)
        git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.com", "-C", str(root)]
        for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
            subprocess.run([*git, *command], check=True)
        return root

    return make


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where walks make their folders."""
    folder = tmp_path / "places"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def variables(diary: Path) -> dict[str, str]:
    return {**os.environ, "DIARY": str(diary)}


def test_each_command_is_told_with_its_place_and_nothing_is_left(
    repository: Repository, places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = repository({"docs/more.md": '```sh run\necho "more ${HERE-nothing} $PWD" >> "$DIARY"\n```\n'})
    diary = tmp_path / "diary"

    assert walk(root, variables(diary))

    first, more, down = diary.read_text().splitlines()
    assert re.fullmatch(r"1 .*/task-processing", first), "what a document sets lives on in it"
    assert re.fullmatch(r"more nothing .*/task-processing", more), "and ends with it"
    assert re.fullmatch(r"down in .*/task-processing", down)
    out = capsys.readouterr().out
    told = re.findall(r"^(\S+:\d+)  (.*)$", out, re.MULTILINE)
    assert told == [
        ("README.md:4", "git clone <this repository> task-processing"),
        ("README.md:5", "cd task-processing"),
        ("README.md:6", "make up"),
        ("README.md:7", "HERE=1"),
        ("README.md:11", 'echo "$HERE $PWD" >> "$DIARY"'),
        ("docs/more.md:2", 'echo "more ${HERE-nothing} $PWD" >> "$DIARY"'),
    ]
    assert "6 commands worked as written" in out
    assert list(places.iterdir()) == []


@pytest.mark.parametrize("broken", ["false | true", "echo $UNSET", "echo out; echo oh >&2; exit 4"])
def test_it_stops_at_the_first_command_that_fails_and_shows_its_place_and_words(
    repository: Repository, places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    page = f"One\n\n```sh run\necho before\n{broken}\ntouch {tmp_path}/after\n```\n"
    root = repository({"docs/broken.md": page, "docs/later.md": f"```sh run\ntouch {tmp_path}/after\n```\n"})

    assert walk(root, variables(tmp_path / "diary")) is False

    out, err = capsys.readouterr()
    assert "error: docs/broken.md:5 failed" in err
    assert not broken.startswith("echo out") or ("out\noh\n" in out and "exit status 4" in err)
    assert f"docs/broken.md:5  {broken}" in out
    assert not any(line == "before" for line in out.splitlines()), "only what the failing command printed is shown"
    assert not (tmp_path / "after").exists()
    assert "down" in (tmp_path / "diary").read_text()
    assert list(places.iterdir()) == []


def test_only_what_is_committed_is_walked_through(repository: Repository, places: Path, tmp_path: Path) -> None:
    root = repository({})
    (root / "docs" / "draft.md").write_text("```sh run\nfalse\n```\n")
    (root / "README.md").write_text("```sh run\nfalse\n```\n")
    assert walk(root, variables(tmp_path / "diary"))


def test_a_saved_file_is_as_the_document_shows_it(repository: Repository, places: Path, tmp_path: Path) -> None:
    text = "a = '$HOME `x` \\n'"
    page = f"```python save=new/kind.py\n{text}\n```\n\n```sh run\ncp new/kind.py {tmp_path}/found\n```\n"
    assert walk(repository({"docs/save.md": page}), variables(tmp_path / "diary"))
    assert (tmp_path / "found").read_text() == f"{text}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_what_was_started_and_removes_the_clone(
    repository: Repository, places: Path, tmp_path: Path, number: signal.Signals
) -> None:
    endless = f"```sh run\nsleep 1000 & echo $! > {tmp_path}/pid; wait\n```\n"
    root, diary = repository({"docs/endless.md": endless}), tmp_path / "diary"
    code = (
        "import pathlib, sys; from scripts import walkthrough as w; "
        "w.ROOT = pathlib.Path(sys.argv[1]); sys.exit(w.main())"
    )
    run = {**variables(diary), "TMPDIR": str(places), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code, str(root)],
        env=run,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=heeds_ctrl_c,
    ) as going:
        note = tmp_path / "pid"
        pid = int(eventually(lambda: note.read_text().strip() if note.exists() else ""))
        going.send_signal(number)
        _, err = going.communicate(timeout=300)

    assert going.returncode == 130
    assert "Interrupted" in err
    eventually(lambda: _gone(pid))
    assert "down in" in diary.read_text()
    assert list(places.iterdir()) == []


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
