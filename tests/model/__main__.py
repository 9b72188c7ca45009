"""Explore large bounds and say what was seen: `python -m tests.model [--faults 2] [--attempts 3] [--replays 1] …`.

Without arguments: the runs that docs/guarantees.md speaks of, one after the other. Ends with 1 at a violation, whose
shortest trace is printed, and with 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Sequence
from dataclasses import fields, replace

from tests.model.bugs import BUGS, SWEEPER_OFF
from tests.model.explore import Explored, Stopped, explored
from tests.model.mutants import SMALL, term_mutants
from tests.model.rules import CRASH, HANG, Bounds
from tests.mutation.page import RECORD, recorded

EVERYBODY = Bounds(
    faults=2,
    messages=2,
    attempts=1,
    cancels=1,
    replays=1,
    resubmits=1,
    parking=False,
    permanent=False,
    kinds=frozenset({CRASH, HANG}),
)
"""With all kinds of fault this has more states than memory and patience hold."""
RUNS = (
    ("no fault, everybody at every step", Bounds(faults=0, messages=2, cancels=1, replays=1, resubmits=1, attempts=3)),
    ("one fault, sweeper off", replace(SWEEPER_OFF, faults=1, attempts=3, cancels=1, replays=1)),
    ("one fault, two messages", Bounds(faults=1, messages=2, cancels=1, replays=1, resubmits=1)),
    ("two faults", Bounds(faults=2, cancels=1, replays=1)),
    ("two faults, three attempts, two messages", Bounds(faults=2, attempts=3, messages=2)),
    ("two faults, two monitors, hand-backs nearly used up", Bounds(faults=2, monitors=2, messages=2, handed_back=2)),
    ("two crashes or hangs, everybody at every step", EVERYBODY),
)


def main(arguments: Sequence[str]) -> int:
    options = _parsed(arguments)
    try:
        return _explore(options)
    except Stopped as stopped:
        print("Interrupted: this is what was seen until now.", file=sys.stderr)
        _report(stopped.seen)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
    return 130


def _explore(options: argparse.Namespace) -> int:
    if options.mutants:
        return _mutants()
    if options.bugs:
        return _bugs()
    chosen = {f.name: getattr(options, f.name) for f in fields(Bounds) if getattr(options, f.name, None) is not None}
    if options.sweeper_off:
        chosen = {"sweeper": False, "parking": False, "unsent": False, **chosen}
    runs = [("as asked", Bounds(**chosen))] if chosen else RUNS
    kept = [_run(name, bounds, options.most) for name, bounds in runs]
    return 0 if all(kept) else 1


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    for bound in fields(Bounds):
        if isinstance(bound.default, int) and not isinstance(bound.default, bool):
            parser.add_argument(f"--{bound.name.replace('_', '-')}", type=int, help=f"default {bound.default}")
    parser.add_argument("--max-receives", type=int, help="default: the attempts and one more")
    parser.add_argument("--sweeper-off", action="store_true", help="no sweeper, no parking, no crash before a send")
    parser.add_argument("--most", type=int, help="stop after so many states")
    parser.add_argument("--mutants", action="store_true", help="drop each term of each write; say what that breaks")
    parser.add_argument("--bugs", action="store_true", help="show how each seeded bug is found")
    return parser.parse_args(arguments)


def _run(name: str, bounds: Bounds, most: int | None) -> bool:
    print(f"{name}: {_shown(bounds)}", flush=True)
    seen = explored(bounds, most=most, progress=_progress)
    _report(seen)
    return seen.finished


def _shown(bounds: Bounds) -> str:
    changed = (f"{f.name} {getattr(bounds, f.name)}" for f in fields(bounds) if f.name != "kinds")
    return ", ".join(changed)


def _progress(states: int, waiting: int, seconds: float) -> None:
    print(f"  {seconds:6.0f} s  {states:>10,} states, {waiting:,} to look at, {_gigabytes():.2f} GB", flush=True)


def _report(seen: Explored) -> None:
    faults = ", ".join(f"{kind} {count:,}" for kind, count in sorted(seen.fired.items())) or "none"
    ends = ", ".join(f"{end} {count:,}" for end, count in sorted(seen.statuses.items()))
    print(f"  faults that struck: {faults}")
    print(f"  states at rest: {ends}")
    verdict = seen.violation or ("every guarantee holds" if seen.finished else "stopped; none broken so far")
    print(
        f"  {seen.states:,} states, {seen.transitions:,} transitions, {seen.seconds:.0f} s "
        f"({seen.cpu_seconds:.0f} s of one core), {_gigabytes():.2f} GB: {verdict}",
        flush=True,
    )
    for line in seen.trace:
        print(f"    {line}")


def _gigabytes() -> float:
    """Most memory this process has had (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def _bugs() -> int:
    found = True
    for bug in BUGS:
        print(bug.name)
        seen = explored(bug.bounds, bug.rules)
        _report(seen)
        found = found and seen.violation is not None and seen.violation.startswith(bug.broken)
    return 0 if found else 1


def _mutants() -> int:
    """The table; what the model does not kill is for a directed test to kill, and is known: by_model.json has it."""
    if unclean := [bounds for bounds in SMALL if explored(bounds).violation]:
        print(f"the deployed rules themselves break something here, so a find would prove nothing: {unclean}")
        return 1
    known, survivors = recorded(), []
    for mutant in term_mutants():
        verdict = mutant.violation or "not found by the model"
        print(f"{mutant.write:14} {mutant.term:22} {mutant.states:>9,} states  {verdict}", flush=True)
        if mutant.violation is None and known.get(f"{mutant.write}.{mutant.term}", "not known"):
            survivors.append(f"{mutant.write}.{mutant.term}")
    return told_survivors(survivors)


def told_survivors(survivors: Sequence[str]) -> int:
    if survivors:
        print(f"found before, by {RECORD.name}, and no longer: {', '.join(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
