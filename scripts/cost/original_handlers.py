"""The original's three functions around `original`, with one structured line per outcome, as ours write it.

What its own lines looked like is not known: these are as long as ours, so that the comparison rests on what is.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping
from functools import cache
from typing import Any

import boto3

from scripts.cost.original import Json, Original


@cache
def original() -> Original:
    env = os.environ
    names = (boto3.client("dynamodb"), env["TABLE_NAME"], boto3.client("sqs"), env["QUEUE_URL"], env["DLQ_URL"])
    return Original(*names, now_ms, lambda: str(uuid.uuid4()), backoff_base_seconds=0)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def submit(event: Mapping[str, Any], context: object) -> Json:
    status, answer = original().submit(json.loads(event["body"]))
    log("submit-task", "submitted", task_id=answer["taskId"], outcome="new", kind="simulated")
    return {"statusCode": status, "body": json.dumps(answer)}


def process(event: Mapping[str, Any], context: object) -> Json:
    failed = [record["messageId"] for record in event["Records"] if not _attempted(record)]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _attempted(record: Mapping[str, Any]) -> bool:
    task_id = json.loads(record["body"])["taskId"]
    done = original().attempt(record, work)
    log("process-task", "task completed" if done else "task failed", task_id=task_id, kind="simulated", attempt=1)
    return done


def work(payload: Json, attempt: int) -> Json:
    if attempt in payload.get("simulate", {}).get("failAttempts", []):
        raise RuntimeError(f"attempt {attempt} failed")
    return {"workSeconds": 0, "attempt": attempt}


def monitor(event: Mapping[str, Any], context: object) -> None:
    for record in event["Records"]:
        original().monitor(record, lambda found: log("monitor-dlq", "task dead", task_id=found["taskId"]))


def log(service: str, message: str, **fields: Any) -> None:
    at = time.strftime("%Y-%m-%d %H:%M:%S,000+0000", time.gmtime())
    line = {"level": "INFO", "message": message, "timestamp": at, "service": service, **fields}
    print(json.dumps(line, separators=(",", ":")), flush=True)
