"""SQS behind SendMessageBatch: takes batches within AWS's limits, refuses what a test says."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

ENTRIES, BYTES = 10, 256 * 1024
"""Most of one batch (SQS Developer Guide, "Message quotas", as of before 2025; today 1 MiB)."""


@dataclass
class BatchSQS:
    """`taken` holds (task id, generation, delay) of every message taken; `refused` maps a task id to the code of the
    failure that its entry is answered with, None for an entry that the answer does not mention at all.

    A batch that holds a task of `lost` is not carried out: the call fails.
    """

    taken: list[tuple[str, int, int]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    refused: dict[str, str | None] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803  boto3's names
        with self._lock:
            self._check(Entries)
            self.batches.append(len(Entries))
            bodies = {entry["Id"]: json.loads(entry["MessageBody"]) for entry in Entries}
            if self.lost & {body["taskId"] for body in bodies.values()}:
                raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "no"}}, "SendMessageBatch")
            answer: dict[str, Any] = {"Successful": [], "Failed": []}
            for entry in Entries:
                self._take(entry, bodies[entry["Id"]], answer)
            # As boto3: a list without entries is not there.
            return {name: entries for name, entries in answer.items() if entries}

    def _take(self, entry: dict[str, Any], body: dict[str, Any], answer: dict[str, Any]) -> None:
        if body["taskId"] not in self.refused:
            self.taken.append((body["taskId"], body["generation"], entry["DelaySeconds"]))
            answer["Successful"].append({"Id": entry["Id"], "MessageId": f"of {entry['Id']}"})
        elif (code := self.refused[body["taskId"]]) is not None:
            answer["Failed"].append({"Id": entry["Id"], "Code": code, "SenderFault": False})

    @staticmethod
    def _check(entries: list[dict[str, Any]]) -> None:
        assert 1 <= len(entries) <= ENTRIES, f"a batch of {len(entries)}"
        assert len({entry["Id"] for entry in entries}) == len(entries), "two entries of one id"
        assert sum(len(entry["MessageBody"].encode()) for entry in entries) <= BYTES, "a batch too large"
        assert all(0 <= entry["DelaySeconds"] <= 900 for entry in entries)
