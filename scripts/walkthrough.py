"""Do what README and docs say, as somebody new does: every block marked as runnable, in a fresh clone.

A fenced block is marked by the words behind its language, which readers do not see: `sh run` is run, `console run` has
its lines behind `$ ` run, `python save=PATH` is saved. Each document is one bash, so what it sets lives on to its end.
TARGET (embedded) says which local AWS. Exits 1 at the first command that fails, 130 when it was interrupted.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bootstrap import console
from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from scripts.ports import free_port

REPOSITORY = "<this repository>"
"""What a reader puts the address in the place of; here it is this checkout, as it is committed."""
SOURCE = "repository"
CLONE = "task-processing"
FENCE = re.compile(r"```(\w*) ?(.*)")
END_OF_FILE = "END-OF-SAVED-FILE"
OWN = frozenset(re.findall(r"^# (?!LOCALSTACK)([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
"""What a user sets for this project; which LocalStack a machine has counts as part of the machine."""
LOOK_SECONDS = 0.1
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
# Each command tells its line before it runs, with the time and how much was printed until then. The file is opened anew
# each time: what a command leaves running has no part of it.
TELL = 'echo "$LINENO ${EPOCHREALTIME/,/.} $(wc -c < "$WALKTHROUGH/output")" >> "$WALKTHROUGH/marks"'
PREAMBLE = f"set -euo pipefail; trap '{TELL}' DEBUG; "


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `line` is that of its fence, counted from 1."""

    line: int
    language: str
    marks: Sequence[str]
    text: Sequence[str]

    @property
    def saved_as(self) -> str | None:
        return next((mark.removeprefix("save=") for mark in self.marks if mark.startswith("save=")), None)

    def script(self) -> list[str]:
        """Bash for its lines, fences included: as many, so that a line of the script is a line of the document."""
        inner = len(self.text)
        if self.saved_as is not None:
            path = shlex.quote(self.saved_as)
            return [f"mkdir -p $(dirname {path}); cat > {path} <<'{END_OF_FILE}'", *self.text, END_OF_FILE]
        if "run" not in self.marks:
            return [""] * (inner + 2)
        if self.language == "console":
            return ["", *(line[2:] if line.startswith("$ ") else "" for line in self.text), ""]
        return ["", *self.text, ""]


def blocks(text: str) -> Iterator[Block]:
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        fence = FENCE.fullmatch(lines[number])
        if fence is None:
            number += 1
            continue
        end = lines.index("```", number + 1)
        yield Block(number + 1, fence[1], fence[2].split(), lines[number + 1 : end])
        number = end + 1


def script(text: str, repository: Path) -> str:
    """The document as bash: its runnable lines where they stand, all others empty."""
    found = [""] * len(text.splitlines())
    for block in blocks(text):
        found[block.line - 1 : block.line + 1 + len(block.text)] = block.script()
    return "\n".join(line.replace(REPOSITORY, shlex.quote(str(repository))) for line in found) + "\n"


def documents(root: Path) -> list[Path]:
    """In reading order."""
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))]


# Walk. ----------------------------------------------------------------------------------------------------------------


@dataclass
class Walk:
    """One walk in `folder`: the repository as somebody new gets it, and what the documents make of it."""

    folder: Path
    variables: Mapping[str, str]
    commands: int = 0
    _running: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def source(self) -> Path:
        return self.folder / SOURCE

    @property
    def clone(self) -> Path:
        return self.folder / CLONE

    def through(self, document: Path) -> bool:
        """Run it; False when a command fails, which is then told with what it printed."""
        name, text = str(document.relative_to(self.source)), document.read_text()
        bash = script(text, self.source)
        if not bash.strip():
            return True
        if REPOSITORY not in text and not self.clone.exists():
            clone(self.source, self.clone)
        steps = Steps(name, text.splitlines(), self.folder)
        (self.folder / "script").write_text(PREAMBLE + bash)
        with steps.output.open("wb") as output:
            # An interrupt waits until `close` knows the process that it has to stop.
            signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
            self._running = subprocess.Popen(
                ["bash", str(self.folder / "script")],
                cwd=self.clone if self.clone.exists() else self.folder,
                env={**self.variables, "WALKTHROUGH": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS),
            )
            signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
            while (code := self._running.poll()) is None:
                steps.look()
                time.sleep(LOOK_SECONDS)
        self.commands += steps.end(code)
        return code == 0

    def close(self) -> None:
        """Stop what was started and remove the clone."""
        if self._running is not None:
            with suppress(ProcessLookupError):  # what bash left in its group, also when that has ended
                os.killpg(self._running.pid, signal.SIGTERM)
            self._running.wait()
        if (self.clone / ".local").exists():
            down = subprocess.run(
                ["make", "down"], cwd=self.clone, env=dict(self.variables), capture_output=True, text=True, check=False
            )
            if down.returncode:
                console.fail(f"`make down` failed: {down.stderr.strip()}")
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class Steps:
    """The commands of one document as they begin, each with its place and, when it has ended, its duration."""

    name: str
    lines: Sequence[str]
    folder: Path
    line: int = 0
    begun: float = 0
    printed: int = 0
    """Bytes of output before the command that runs."""
    count: int = 0
    _read: int = 0

    def __post_init__(self) -> None:
        self.marks.write_text("")

    @property
    def marks(self) -> Path:
        return self.folder / "marks"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def look(self) -> None:
        told = self.marks.read_text().splitlines(keepends=True)
        for mark in told[self._read :]:
            if not mark.endswith("\n"):
                break
            self._read += 1
            line, at, printed = mark.split()
            if int(line) != self.line:
                self._ended(float(at))
                self.line, self.begun, self.printed = int(line), float(at), int(printed)
                self._begin()

    def _begin(self) -> None:
        self.count += 1
        written = self.lines[self.line - 1]
        fence = FENCE.fullmatch(written)
        console.say(f"{self.name}:{self.line}  {fence[2] if fence else written.removeprefix('$ ')}", "bold")

    def _ended(self, at: float) -> None:
        if self.line:
            console.detail(f"{at - self.begun:.1f} s")

    def end(self, code: int) -> int:
        """How many commands there were."""
        self.look()
        self._ended(time.time())
        if code:
            with self.output.open("rb") as output:
                output.seek(self.printed)
                console.say(output.read().decode(errors="replace").rstrip())
            console.fail(f"{self.name}:{self.line} failed with exit status {code}.")
        return self.count


# Begin. ---------------------------------------------------------------------------------------------------------------


def environment(variables: Mapping[str, str], port: int, project: str) -> dict[str, str]:
    """That of somebody new: nothing is set but the local AWS to take, on a port of its own."""
    kept = {name: value for name, value in unset(variables).items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    target = variables.get("TARGET") or "embedded"
    # On another port than its own awslocal has to be told; the README says so.
    own = {"TARGET": target, "EDGE_PORT": str(port), "LOCALSTACK_HOST": f"localhost:{port}"}
    return {**kept, **own, "COMPOSE_PROJECT_NAME": project}


def unset(variables: Mapping[str, str]) -> dict[str, str]:
    """Without what is set for this project, its client, AWS or make."""
    return {
        name: value
        for name, value in variables.items()
        if name not in OWN and not name.startswith(("AWS_", "TASKS_", "MAKE", "MFLAGS"))
    }


def check(root: Path) -> None:
    """
    Raises:
        BootstrapError: there is nothing to clone with, or nothing to clone.
    """
    if shutil.which("git") is None:
        raise BootstrapError("git is not here, and the walk begins with a clone.", "Install git (`apt install git`).")
    if not (root / ".git").exists():
        raise BootstrapError(f"{root} is no git repository, and the walk begins with a clone of it.")


def clone(repository: Path, folder: Path) -> None:
    """What is committed: nothing else would reach somebody new.

    Raises:
        BootstrapError: git refuses.
    """
    done = subprocess.run(
        ["git", "clone", "--quiet", str(repository), str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BootstrapError(f"git clone failed: {done.stderr.strip()}")


def walk(root: Path, variables: Mapping[str, str]) -> bool:
    """Through all documents, until a command fails. Whatever happens, nothing is left behind."""
    check(root)
    folder, started = Path(tempfile.mkdtemp(prefix="walkthrough-")), time.monotonic()
    going = Walk(folder, environment(variables, free_port(), f"walkthrough-{os.getpid()}"))
    try:
        clone(root, going.source)
        good = all(going.through(document) for document in documents(going.source))
    finally:
        going.close()
    if good:
        console.say(
            f"{going.commands} commands worked as written, in {time.monotonic() - started:.0f} s.", "bold green"
        )
    return good


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if walk(ROOT, os.environ) else 1
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    except KeyboardInterrupt:
        console.fail("Interrupted. What it had started is stopped, and its clone is gone.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
