"""Load test: POST many tasks and say how the API took it.

Usage: python -m scripts.load_test <API_URL> [count=100] [concurrency=1]

The URL may end in /tasks or not. The key comes from --api-key, else API_KEY, else the running stack. Exits 1 when any
task was not accepted, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import requests
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bootstrap import console
from scripts.running import running_outputs

RETRIED = frozenset({429, 503})
MAX_TRIES = 8
FIRST_PAUSE_SECONDS = 0.1
ACCEPTED = frozenset({200, 202})
NO_ANSWER = 0
"""Counted instead of a status when no answer came at all."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one task met: its last status, the tries it took, and the seconds of the last try."""

    status: int
    tries: int
    seconds: float
    message: str = ""


@dataclass(frozen=True)
class Load:
    """The task API under load. Each thread keeps a connection of its own alive."""

    url: str
    key: str
    payload: dict[str, object]
    _local: threading.local = field(default_factory=threading.local)

    def submit(self, task_id: str) -> Answer:
        body: dict[str, object] = {"taskId": task_id, "payload": self.payload}
        for attempt in range(1, MAX_TRIES + 1):
            answer = self._post(body, attempt)
            if answer.status not in RETRIED and answer.status != NO_ANSWER:
                break
            if attempt < MAX_TRIES:
                time.sleep(random.uniform(0, FIRST_PAUSE_SECONDS * 2**attempt))
        return answer

    def _post(self, body: dict[str, object], attempt: int) -> Answer:
        started = time.perf_counter()
        try:
            response = self._session().post(self.url, json=body, timeout=35)
        except requests.RequestException as error:
            return Answer(NO_ANSWER, attempt, time.perf_counter() - started, str(error))
        message = "" if response.status_code in ACCEPTED else response.text[:200]
        return Answer(response.status_code, attempt, time.perf_counter() - started, message)

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.headers["x-api-key"] = self.key
        session: requests.Session = self._local.session
        return session


def run(load: Load, count: int, concurrency: int) -> tuple[list[Answer], float]:
    """Submit `count` tasks; their answers, and the seconds it took. Ctrl-C ends it early, with fewer answers."""
    answers: list[Answer] = []
    prefix = f"load-{uuid.uuid4().hex[:8]}"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    started = time.perf_counter()
    with Progress(*columns, console=console.out) as progress, ThreadPoolExecutor(concurrency) as pool:
        bar = progress.add_task("submitting", total=count)
        futures: list[Future[Answer]] = []
        try:
            futures.extend(pool.submit(load.submit, f"{prefix}-{number}") for number in range(count))
            for future in as_completed(futures):
                answers.append(future.result())
                progress.advance(bar)
        except KeyboardInterrupt:
            console.say("Interrupted; this is what was done until now.", "yellow")
            pool.shutdown(cancel_futures=True)  # what is on its way is waited for: it may have been accepted
            answers = [future.result() for future in futures if not future.cancelled()]
    return answers, time.perf_counter() - started


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


def report(answers: Sequence[Answer], seconds: float) -> None:
    accepted = [answer for answer in answers if answer.status in ACCEPTED]
    table = Table(title="Load test", title_justify="left", show_header=False)
    table.add_row("accepted", str(len(accepted)))
    for status, number in sorted(Counter(a.status for a in answers if a.status not in ACCEPTED).items()):
        table.add_row("no answer" if status == NO_ANSWER else f"rejected with {status}", str(number))
    table.add_row("tries that were repeated", str(sum(answer.tries - 1 for answer in answers)))
    table.add_row("requests/s", f"{len(answers) / seconds:.1f}")
    if accepted:
        times = [answer.seconds * 1000 for answer in accepted]
        marks = (f"p{round(share * 100)} {percentile(times, share):.0f} ms" for share in (0.5, 0.95, 0.99))
        table.add_row("latency", ", ".join(marks))
    console.out.print(table)
    rejected = next((answer for answer in answers if answer.status not in ACCEPTED), None)
    if rejected:
        console.fail(f"not accepted: {rejected.message or rejected.status}", _hint(rejected.status))


def _hint(status: int) -> str:
    if status == 403:
        return "Set the key: --api-key KEY, or API_KEY=KEY; `make outputs` shows it."
    if status == NO_ANSWER:
        return "Is the stack running? Type `make status`."
    return "`make logs` shows what the functions say."


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.load_test", description=__doc__.splitlines()[0])
    parser.add_argument("api_url", metavar="API_URL", help="with or without /tasks")
    parser.add_argument("count", nargs="?", type=_positive, default=100, help="tasks to submit (100)")
    parser.add_argument("concurrency", nargs="?", type=_positive, default=1, help="requests at once (1)")
    parser.add_argument("--api-key", default=os.environ.get("API_KEY"), help="else API_KEY, else the running stack's")
    parser.add_argument("--payload", type=_payload, default={}, help="payload of each task, a JSON object ({})")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000000")
    return value


def _payload(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return document


def _key() -> str:
    """The running stack's key; empty when nothing runs, so that the API's own 403 tells what to do."""
    outputs = running_outputs()
    return str(outputs["api_key"]) if outputs else ""


def main(arguments: Sequence[str] | None = None) -> int:
    args = _arguments(arguments)
    url = args.api_url.rstrip("/").removesuffix("/tasks") + "/tasks"
    if not url.startswith(("http://", "https://")):
        console.fail(f"{args.api_url!r} is no URL.", "`make outputs` shows the API URL.")
        return 2
    try:
        answers, seconds = run(Load(url, args.api_key or _key(), args.payload), args.count, args.concurrency)
    except KeyboardInterrupt:
        console.fail("Interrupted.")
        return 130
    report(answers, seconds)
    if len(answers) < args.count:
        return 130
    return 0 if all(answer.status in ACCEPTED for answer in answers) else 1


if __name__ == "__main__":
    sys.exit(main())
