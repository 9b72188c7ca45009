"""`tasks redrive` by filter: what would be replayed, or the replay, told task by task."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from client.answer import Answer
from client.errors import ApiError
from client.records import instant
from client.redrive import Outcome, Step, Tally, Wanted, redrive_many

SHOWN = 20
"""What would be replayed is shown one by one so far, and then counted. What is replayed is all told."""


@dataclass
class Told:
    """What has become of each task so far."""

    answer: Answer
    dry_run: bool
    steps: list[Step] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def __call__(self, step: Step, tally: Tally) -> None:
        self.steps.append(step)
        self.tally = tally
        if not self.dry_run or len(self.steps) <= SHOWN:
            why = step.why or f"{step.letter.error_class}: {step.letter.error}"
            self.answer.screen.say(f"{step.letter.task_id}  {step.letter.kind}  {step.outcome}  {why}")

    def document(self) -> object:
        names = ("taskId", "generation", "outcome", "why")
        rows = [(one.letter.task_id, one.letter.generation, one.outcome, one.why) for one in self.steps]
        return {"results": [dict(zip(names, row, strict=True)) for row in rows]}


def matching(answer: Answer, wanted: Wanted) -> int:
    """`wanted` has an end, so that typing it again means the same tasks. Exit code 4 when some failed: they are dead
    still, and the same again goes on."""
    told = Told(answer, not answer.args.yes)
    try:
        redrive_many(answer.target.client, wanted, dry_run=told.dry_run, progress=told)
    except KeyboardInterrupt:
        answer.screen.fail(f"Interrupted: {told.tally}.", again(answer, wanted, answer.args.yes))
        return 130
    except ApiError:
        answer.screen.note(f"Until then: {told.tally}.\n  next: {again(answer, wanted, answer.args.yes)}")
        raise
    answer.screen.document(told.document())
    more = len(told.steps) - SHOWN
    if told.dry_run and more > 0:
        answer.screen.say(f"… and {more} more")
    answer.screen.note(f"{told.tally}.")
    if told.dry_run and told.steps:
        answer.screen.note(f"Nothing was changed.\n  next: {again(answer, wanted, True)}")
    if told.tally[Outcome.FAILED]:
        answer.screen.fail("Some failed; they are dead still.", again(answer, wanted, True))
        return 4
    return 0


def again(answer: Answer, wanted: Wanted, yes: bool) -> str:
    """The command to type next, its times as they are fixed now."""
    given = {"kind": wanted.kind, "error": wanted.error}
    given |= {name: instant(at) for name, at in (("since", wanted.since), ("until", wanted.until)) if at}
    words = [f"--{name} {shlex.quote(text)}" for name, text in given.items() if text]
    return answer.again(" ".join(["redrive", *words, *(["--yes"] if yes else [])]))
