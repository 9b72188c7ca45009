"""The verdicts as a table, for a terminal and for docs/proof.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.mutation.judge import Verdict
from tests.mutation.killers import REFUSED, SECOND_LOCKS

BEGIN, END = "<!-- mutation: begin -->", "<!-- mutation: end -->"
RECORD = Path(__file__).with_name("by_model.json")
NOT_THERE = "not in the model"
REASONS = (
    "by harm that the model or a directed test shows",
    "by the harm once the term beside it is gone too",
    "by the row that they alone refuse",
)
"""Why a term is there, by what kills it when it is dropped; the strongest that holds."""
ByModel = Mapping[str, str | None]
"""What the model found each dropped term to break; None: nothing. A term that the model does not have is not in it."""


def recorded() -> ByModel:
    found: ByModel = json.loads(RECORD.read_text())
    return found


def record(found: ByModel) -> None:
    RECORD.write_text(json.dumps(found, indent=2) + "\n")


def differences(found: ByModel, before: ByModel) -> list[str]:
    """What the model says now of the terms it was asked for, and did not say when it was recorded."""
    return [
        f"{term}: the model finds {of_model(found, term)}; recorded is {of_model(before, term)}"
        for term in found
        if term not in before or found[term] != before[term]
    ]


def of_model(found: ByModel, term: str) -> str:
    return found.get(term, NOT_THERE) or "nothing"


def score(verdicts: Sequence[Verdict], found: ByModel) -> str:
    """How many are killed, and by what: a row that only this term refuses shows the term, not what it is good for."""
    killed = [verdict for verdict in verdicts if verdict.killed]
    tests = len({trial.test for verdict in verdicts for trial in verdict.trials})
    count = Counter(_reason(verdict, found) for verdict in killed)
    reasons = ", ".join(f"{count[reason]} {reason}" for reason in REASONS)
    share = len(killed) / len(verdicts)
    return f"{len(killed)} of {len(verdicts)} dropped terms killed by {tests} tests, score {share:.0%}: {reasons}"


def _reason(verdict: Verdict, found: ByModel) -> str:
    killing = {trial.test.partition("[")[0] for trial in verdict.trials if trial.kills} - {REFUSED}
    term = str(verdict.term)
    if found.get(term) or (killing and term not in SECOND_LOCKS):
        return REASONS[0]
    return REASONS[1] if killing else REASONS[2]


def lines(verdicts: Sequence[Verdict]) -> list[str]:
    """One a term: what became of it, and which of its tests saw that."""
    shown = []
    for verdict in verdicts:
        kills = sum(trial.kills for trial in verdict.trials)
        word = "killed" if verdict.killed else "SURVIVED"
        shown.append(f"{verdict.term!s:32} {word:8} by {kills} of {len(verdict.trials)} test runs")
    return [*shown, *(problem for verdict in verdicts for problem in verdict.problems)]


def markdown(verdicts: Sequence[Verdict], found: ByModel) -> str:
    """The whole table, the score under it."""
    rows = ["| dropped | killed by | the model finds |", "| --- | --- | --- |"]
    for verdict in verdicts:
        tests = "<br>".join(_names(verdict)) or "**nothing**"
        rows.append(f"| `{verdict.term}` | {tests} | {of_model(found, str(verdict.term))} |")
    return "\n".join([*rows, "", f"{score(verdicts, found)}."])


def _names(verdict: Verdict) -> list[str]:
    """Each test once, with the number of its rows when there are several."""
    killing = [trial.test for trial in verdict.trials if trial.kills]
    names = [test.partition("[")[0].partition("tests/")[2] for test in killing]
    return [_name(name, names.count(name)) for name in dict.fromkeys(names)]


def _name(name: str, rows: int) -> str:
    file, test = name.split("::")
    words = "the row that it alone refuses" if name in REFUSED else test.removeprefix("test_").replace("_", " ")
    return f"`{Path(file).stem}`: {words}" + (f" ({rows} rows)" if rows > 1 else "")


def put_between_marks(page: str, table: str) -> str:
    """Raises ValueError: the page has no marks."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"
