"""A kind of task that writes in every way that effects know: what a role may do to the tables of kinds is then used.

Part of a package only where tests/support/recording.py puts it.
"""

from __future__ import annotations

from lambdas.common.effects import Effects, check, delete, put, update
from lambdas.common.kinds import Work, kind

TABLE = "accounts"


@kind("every-effect", schema={"type": "object"}, tables=(TABLE,))
def run(work: Work) -> Effects:
    def key(name: str) -> dict[str, str]:
        return {"account": f"{work.task_id} {name}"}

    return Effects(
        [
            put(TABLE, key("put")),
            update(TABLE, key("update"), "ADD balance :one", values={":one": 1}),
            delete(TABLE, key("delete")),
            check(TABLE, key("check"), "attribute_not_exists(account)"),
        ]
    )
