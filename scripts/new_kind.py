"""A new kind of task, `make new-kind NAME=`: a module that works, its unit test and its end-to-end test."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from bootstrap import console, kinds, package
from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MOST_CHARACTERS = 50

MODULE = '''"""{title}: say here what it does."""

from __future__ import annotations

from lambdas.common.kinds import JsonObject, Work, kind
from lambdas.common.retry import PermanentError

PAYLOAD = {{
    "type": "object",
    "additionalProperties": False,
    "required": ["text"],
    "properties": {{"text": {{"type": "string", "maxLength": 10_000}}}},
}}


@kind("{name}", schema=PAYLOAD)
def run(work: Work) -> JsonObject:
    """Its answer is the task's result. PermanentError ends the task; any other error means another attempt."""
    words = work.payload["text"].split()
    if not words:
        raise PermanentError("the text holds no words")
    return {{"words": len(words)}}
'''

UNIT_TEST = '''"""{title}."""

from __future__ import annotations

import pytest

from lambdas.common.kinds import JsonObject
from lambdas.common.retry import PermanentError
from lambdas.process_task.kinds import {module}
from tests.support.kinds import payload_error, work


def test_it_counts_the_words() -> None:
    assert {module}.run(work({{"text": "to be or not"}})) == {{"words": 4}}


def test_a_text_without_words_fails_for_good() -> None:
    with pytest.raises(PermanentError, match="no words"):
        {module}.run(work({{"text": "  "}}))


@pytest.mark.parametrize("payload", [{{}}, {{"text": 7}}, {{"text": "a", "other": 1}}, {{"text": "x" * 10_001}}])
def test_a_wrong_payload_is_refused_before_it_is_a_task(payload: JsonObject) -> None:
    assert payload_error("{name}", payload) is not None
'''

END_TO_END_TEST = '''"""{title}, end to end on each local AWS."""

from __future__ import annotations

from lambdas.common.task import Status
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually


def test_a_task_completes_with_its_result(stack: DeployedStack) -> None:
    task = stack.tasks.submit("{name}", {{"text": "to be or not"}}).wait()

    assert task.result == {{"words": 4}}
    row = stack.store.get(task.task_id)
    assert row is not None
    assert (row.status, row.attempts) == (Status.COMPLETED, 1)


def test_a_text_without_words_becomes_a_dead_letter(stack: DeployedStack) -> None:
    submitted = stack.tasks.submit("{name}", {{"text": "  "}})
    task = eventually(submitted.get, lambda task: task.dead_letters)

    row = stack.store.get(task.task_id)
    assert row is not None
    assert (row.status, row.attempts) == (Status.FAILED_FINAL, 1)
    assert [letter["error"] for letter in task.dead_letters] == ["PermanentError: the text holds no words"]
'''

NEXT = """Then
  make test-unit TESTS=tests/unit/test_{module}.py
  make test-integration TESTS=tests/integration/test_{module}.py
  make watch    # in a second terminal, or `make up` after each change
  .venv/bin/tasks submit --kind {name} '{{"text": "to be or not"}}' --wait"""


def files(name: str) -> dict[Path, str]:
    """Path in the checkout -> text."""
    module = name.replace("-", "_")
    words = {"name": name, "module": module, "title": name.replace("-", " ").capitalize()}
    return {
        Path("lambdas/process_task/kinds") / f"{module}.py": MODULE.format(**words),
        Path("tests/unit") / f"test_{module}.py": UNIT_TEST.format(**words),
        Path("tests/integration") / f"test_{module}.py": END_TO_END_TEST.format(**words),
    }


def check(name: str) -> None:
    """
    Raises:
        BootstrapError: it cannot be the name of a kind and of a module, or one of that name is there.
    """
    allowed = f"small letters, digits and single hyphens, a letter first, at most {MOST_CHARACTERS}: resize-image"
    if not NAME.fullmatch(name) or len(name) > MOST_CHARACTERS:
        raise BootstrapError(f"NAME is {name!r}; allowed: {allowed}.", "Type `make new-kind NAME=resize-image`.")
    if keyword.iskeyword(name):
        raise BootstrapError(f"NAME is {name!r}, a word of Python itself; no module can be called that.")
    if name in {kind.name for kind in kinds.read(package.install_dependencies())}:
        raise BootstrapError(f"There is a kind {name} already.", "Choose another NAME.")


def write(texts: Mapping[Path, str]) -> None:
    """All of them, or none.

    Raises:
        BootstrapError: one is there already.
    """
    for path in texts:
        if (ROOT / path).exists():
            raise BootstrapError(f"{path} is there already; nothing was written.", "Choose another NAME.")
    for path, text in texts.items():
        (ROOT / path).write_text(text)
        console.say(f"{path}  {len(text.splitlines())} lines")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.new_kind", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help="such as resize-image")
    name = parser.parse_args(arguments).name
    try:
        check(name)
        write(files(name))
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    console.say(f"It counts words for now: make it yours. {NEXT.format(name=name, module=name.replace('-', '_'))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
