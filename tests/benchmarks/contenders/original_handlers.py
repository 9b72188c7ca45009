"""The original's three functions as deployed for `make bench`: our clients' settings, a batch worked on at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from lambdas.common import aws
from scripts.cost.original import Json, Original
from scripts.cost.original_handlers import log

THREADS = 10
"""A whole batch, as ours."""


@cache
def original() -> Original:
    env = os.environ
    names = (aws.dynamodb(), env["TABLE_NAME"], aws.sqs(), env["QUEUE_URL"], env["DLQ_URL"])
    return Original(*names, aws.now_ms, aws.new_token, backoff_base_seconds=int(env["BACKOFF_BASE_SECONDS"]))


@cache
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS)


def submit(event: Mapping[str, Any], context: object) -> Json:
    status, answer = original().submit(json.loads(event["body"]))
    log("submit-task", "submitted", task_id=answer["taskId"], outcome="new", kind="simulated")
    return {"statusCode": status, "body": json.dumps(answer)}


def process(event: Mapping[str, Any], context: object) -> Json:
    original()  # before the threads: the cache would let each make its own
    done = list(pool().map(_attempted, event["Records"]))
    failed = [record["messageId"] for record, ended in zip(event["Records"], done, strict=True) if not ended]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _attempted(record: Mapping[str, Any]) -> bool:
    task_id = json.loads(record["body"])["taskId"]

    def work(payload: Json, attempt: int) -> Json:
        simulate = payload["simulate"]
        if journal := os.environ.get("JOURNAL"):
            _note(Path(journal).with_suffix(".begun"), f"{os.getpid()} {task_id}")
        time.sleep(simulate["workSeconds"])
        if attempt in simulate["failAttempts"]:
            raise RuntimeError(f"attempt {attempt} failed")
        if journal := os.environ.get("JOURNAL"):
            _note(Path(journal), task_id)
        return {"workSeconds": simulate["workSeconds"], "attempt": attempt}

    done = original().attempt(record, work)
    log("process-task", "task completed" if done else "task failed", task_id=task_id, kind="simulated", attempt=1)
    return done


def _note(journal: Path, line: str) -> None:
    with journal.open("a") as lines:
        lines.write(f"{line}\n")


def monitor(event: Mapping[str, Any], context: object) -> None:
    for record in event["Records"]:
        original().monitor(record, lambda found: log("monitor-dlq", "task dead", task_id=found["taskId"]))
