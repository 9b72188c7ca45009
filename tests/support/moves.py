"""What can happen to a task next: the writes of worker, monitor, sweeper and people, as a test asks for them."""

from __future__ import annotations

from lambdas.common import transitions
from lambdas.common.store import TaskStore
from lambdas.common.task import Claim, IndexClass, Message, Status, Task
from lambdas.common.transitions import Write
from tests.support.tasks import NOW, SECOND

EXPIRES = NOW // 1000 + 30 * 86_400
FAR_AHEAD_MS = 3_600 * SECOND


def moved(store: TaskStore, task_id: str, choice: int = 0) -> Task:
    """The row after its next move; of several possible ones the `choice`-th, counted round. An end stays an end."""
    row = store.get(task_id)
    assert row is not None
    possible = _moves(row)
    if not possible:
        return row
    after = store.apply(possible[choice % len(possible)])
    assert isinstance(after, Task), f"{possible[choice % len(possible)].name} was refused"
    return after


def to(store: TaskStore, task_id: str, *names: str) -> Task:
    """The row after these moves, by their names."""
    row = store.get(task_id)
    for name in names:
        assert row is not None
        choice = [write.name for write in _moves(row)].index(name)
        row = moved(store, task_id, choice)
    assert row is not None
    return row


def _moves(row: Task) -> list[Write]:
    at = max(row.updated_at, row.sent_at, row.next_attempt_at or 0) + 1
    token = f"token-{at}"
    match row.index_class:
        case IndexClass.OPEN if row.status is Status.PROCESSING:
            retries = [
                transitions.retry(row, at, "Oops: no", at),
                transitions.park(row, at, "Oops: no", at + FAR_AHEAD_MS),
            ]
            return [transitions.complete(row, at, None, EXPIRES), *retries, transitions.die(row, at, "Oops: no")]
        case IndexClass.OPEN:
            claim = Claim(Message(row.task_id, row.generation), "message-1", token, at, at)
            return [transitions.claim(claim), transitions.cancel(row, at, EXPIRES, token)]
        case IndexClass.PARKED:
            return [transitions.mark_sent(row, at), transitions.cancel(row, at, EXPIRES, token)]
        case IndexClass.DEAD:
            return [transitions.mark_recorded(row, EXPIRES, token)]
        case IndexClass.RECORDED:
            return [transitions.replay(row, at, token)]
    return []
