"""Every saved file runs a moment later: `make watch`, beside a stack that `make up` has started.

Code goes straight into the functions that hold it. What needs more than that (a template, a kind with other attempts,
tables or schedule) is deployed by a change set, with the settings that the stack was deployed with.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import watchfiles
from botocore.exceptions import BotoCoreError, ClientError
from rich.text import Text

from bootstrap import console, operate, package, settings, state
from bootstrap.deploy import APP_TEMPLATE, STORAGE_TEMPLATE, Deployment
from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from scripts import running

LAMBDAS, DESCRIPTION = ROOT / "lambdas", ROOT / package.OPENAPI
TEMPLATES = (STORAGE_TEMPLATE, APP_TEMPLATE)
FOLDERS = (LAMBDAS, STORAGE_TEMPLATE.parent, DESCRIPTION.parent)
"""Watched are folders: many editors save a file by putting another in its place."""
FRESH_SECONDS = 2
"""A file that says it was written so long before anybody looked was moved here, not saved."""
LOOK_MS = 500
"""At least so often the files are looked at."""


@dataclass(frozen=True, slots=True)
class Saved:
    """Files that were saved together, and when."""

    paths: Sequence[Path]
    at: float

    @property
    def names(self) -> str:
        shown = [path.relative_to(ROOT).as_posix() for path in self.paths]
        return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def deployed() -> Deployment:
    """The running stack, with the settings that it was deployed with; a variable that is set now says otherwise.

    Raises:
        BootstrapError: nothing runs, or nothing is deployed.
    """
    there = running.deployment()
    parameters = {**there.storage.parameters(), **there.app.parameters()}
    if "SubmitTaskPackage" not in parameters:
        raise BootstrapError(f"Nothing is deployed on {there.place.target.name}.", f"Type `{there.again}`.")
    values = settings.as_deployed(there.settings.stage, parameters, os.environ)
    return replace(there, settings=values)


def follow(deployment: Deployment, templates: bool) -> str | None:
    """Bring the stack to what the files say: what runs it now, or None where nothing had to be done."""
    with state.in_turn():
        if templates or deployment.to_deploy():
            return _deploy(deployment)
        return ", ".join(deployment.mend_code()) or None


def _deploy(deployment: Deployment) -> str | None:
    changed = deployment.deploy_storage()
    with operate.switches_kept(deployment):
        changed = deployment.deploy_app(deployment.upload_packages()) or changed
    changed = deployment.settle_storage() or changed
    mended = deployment.mend_code()
    return "deployed" if changed or mended else None


def saves() -> Iterator[Saved]:
    """From this call on, not from the first that is asked for, until Ctrl-C. Saves within 20 ms are one change."""
    known = written()
    changes = watchfiles.watch(
        *FOLDERS, watch_filter=Ours(), debounce=100, step=20, rust_timeout=LOOK_MS, yield_on_timeout=True
    )
    return _saves(known, itertools.chain([next(changes)], changes))  # it begins to watch with the first `next`


def _saves(known: Mapping[Path, tuple[int, int]], changes: Iterable[object]) -> Iterator[Saved]:
    """What the system tells is when to look, not what has changed: what it may have failed to tell is found, too."""
    looked = time.time()
    for _ in changes:
        before, looked = looked, time.time()
        found = written()
        paths = sorted(path for path in known.keys() | found.keys() if known.get(path) != found.get(path))
        known = found
        if paths:
            yield Saved(paths, saved_at(paths, before))


def written() -> dict[Path, tuple[int, int]]:
    """Each file that is watched: when it was written, in nanoseconds, and its bytes."""
    ours, found = Ours(), dict[Path, tuple[int, int]]()
    inside = (Path(folder, name) for folder, _, names in os.walk(LAMBDAS) for name in names)
    for path in (*inside, *TEMPLATES, DESCRIPTION):
        if ours(watchfiles.Change.modified, str(path)):
            with suppress(FileNotFoundError):  # deleted meanwhile
                status = path.stat()
                found[path] = status.st_mtime_ns, status.st_size
    return found


class Ours(watchfiles.DefaultFilter):
    """What the functions hold, and the templates; nothing that Python or an editor keeps beside a file."""

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        found = Path(path)
        return super().__call__(change, path) and (found.is_relative_to(LAMBDAS) or found in (*TEMPLATES, DESCRIPTION))


def saved_at(paths: Sequence[Path], looked: float) -> float:
    """When the last of them was written, in seconds since 1970; `looked` is when changes were last looked for."""
    now = time.time()
    written = [path.stat().st_mtime for path in paths if path.exists()]
    return max((at for at in written if min(now, looked) - FRESH_SECONDS < at <= now), default=now)


def show(saved: Saved, what: str | None) -> None:
    text = Text(f"{datetime.now():%H:%M:%S}  ", style="dim")
    text.append(saved.names, style="not dim bold")
    if what is None:
        text.append("  changes nothing that is deployed")
    else:
        text.append(f"  {what}", style="not dim green")
        text.append(f"  {time.time() - saved.at:.2f} s after the save")
    console.out.print(text)


def attend(saved: Saved) -> None:
    """Whatever is wrong is said, and the next save is another try."""
    try:
        show(saved, follow(deployed(), any(path in TEMPLATES for path in saved.paths)))
    except FileNotFoundError:  # renamed or deleted meanwhile: that is a change of its own
        return
    except BootstrapError as error:
        console.say(f"{datetime.now():%H:%M:%S}  {saved.names}", "bold")
        console.fail(error.message, error.hint)
    except (BotoCoreError, ClientError) as error:
        console.fail(f"The local AWS did not take it: {error}", "Does it run? `make status` tells. Watching goes on.")


def main() -> int:
    try:
        found = saves()  # what is saved while the stack is brought up to date is the first change
        console.say("Bringing the stack to what the files say")
        follow(deployed(), templates=True)
        console.say("Watching lambdas/, the templates and docs/openapi.yaml. Save a file; Ctrl-C ends.", "bold")
        for saved in found:
            attend(saved)
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    except KeyboardInterrupt:
        console.say("Not watching any more. The stack goes on with the code of the last save.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
