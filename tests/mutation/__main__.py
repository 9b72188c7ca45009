"""Drop each term of each condition from the deployed code: `python -m tests.mutation`. Its named tests must fail.

Ends with 1 when a term survives, has no named test, or has one that does not exist or does not see it; with `--model`
also when the model checker says another thing of a term than it did when by_model.json was written; with 130 after
Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from tests.model.mutants import judged
from tests.model.mutants import terms as terms_of_the_model
from tests.mutation import page
from tests.mutation.judge import Judge
from tests.mutation.killers import KILLERS
from tests.mutation.registry import Term, terms


def main(arguments: Sequence[str]) -> int:
    options = _parsed(arguments)
    every = {str(term): term for term in terms()}
    chosen = _chosen(every, options.term)
    killers = dict.fromkeys(options.term, options.by) if options.by else KILLERS
    strangers = [f"{name}: tests are named for it, but there is no such term" for name in killers if name not in every]
    judge = Judge(chosen, killers)
    verdicts = judge.run()
    problems = [problem for verdict in verdicts for problem in verdict.problems]
    print("\n".join([*page.lines(verdicts), *strangers, page.score(verdicts, page.recorded())]), flush=True)
    if judge.interrupted:
        print(f"Interrupted: {len(verdicts)} of {len(chosen)} terms were dropped.", file=sys.stderr)
        return 130
    if options.model or options.record:
        found = _by_model({str(term) for term in chosen})
        if options.record:
            page.record({**page.recorded(), **found})
        changed = page.differences(found, page.recorded())
        alike = f"{len(found) - len(changed)} of {len(found)} terms"
        print("\n".join([*changed, f"the model says of {alike} what it said before"]))
        problems += changed
    if options.write:
        options.write.write_text(
            page.put_between_marks(options.write.read_text(), page.markdown(verdicts, page.recorded()))
        )
    return 1 if problems or strangers else 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--term", action="append", default=[], help="only this one, such as claim.attempts_left")
    parser.add_argument("--by", action="append", default=[], help="a test (node id) to try instead of the named ones")
    parser.add_argument("--write", type=Path, help="put the table between the marks of this page")
    parser.add_argument("--model", action="store_true", help="ask the model checker again (half an hour of one core)")
    parser.add_argument("--record", action="store_true", help="the same, and keep what it says for the table")
    return parser.parse_args(arguments)


def _chosen(every: dict[str, Term], names: Sequence[str]) -> list[Term]:
    if unknown := [name for name in names if name not in every]:
        raise SystemExit(f"no such term: {', '.join(unknown)}. There are: {', '.join(every)}")
    return [every[name] for name in names] or list(every.values())


def _by_model(names: Collection[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for write, term, text in terms_of_the_model():
        if (name := f"{write}.{term}") in names:
            found[name] = judged(write, term, text).violation
            print(f"{name}: the model finds {found[name] or 'nothing'}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
