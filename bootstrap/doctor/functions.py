"""Probes of Lambda: what becomes of a call, and what is in its logs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bootstrap.doctor.lab import Lab, ProbeTimeout
from bootstrap.doctor.mappings import GUIDE, Json, handler
from bootstrap.doctor.probe import Finding, Probe
from bootstrap.doctor.queues import (
    outcome,
    receive,
    setting,
    verdict,
)

ENVIRONMENT = f"{GUIDE}/lambda-runtime-environment.html"

CALLS = """
import logging, os, time, uuid

environment = uuid.uuid4().hex

def handle(event, context):
    do = event["do"]
    if do == "sleep":
        time.sleep(4)
        if "RESULTS" in os.environ:
            import boto3
            boto3.client("sqs").send_message(QueueUrl=os.environ["RESULTS"], MessageBody="still here")
    if do == "exit":
        os._exit(1)
    if do == "raise":
        raise ValueError("probe")
    if do == "log":
        print("printed line", flush=True)
        logging.getLogger().setLevel(logging.INFO)
        logging.getLogger("kind").info("logged line")
    return environment

def succeed(event, context):
    return environment

def exit_instead(event, context):
    if event["do"]:
        os._exit(1)
    return environment
"""


def _invoke(lab: Lab, function: str, do: str = "") -> tuple[str | None, Any]:
    """FunctionError and payload."""
    answer = lab.aws("lambda").invoke(FunctionName=function, Payload=json.dumps({"do": do}))
    return answer.get("FunctionError"), json.loads(answer["Payload"].read())


def _described(error: str | None, payload: Any) -> str:
    if not isinstance(payload, dict):
        return "no error"
    return f"{error}, {payload.get('errorType')}: {str(payload.get('errorMessage'))[-60:]}"


def _timeout_reported(lab: Lab) -> Finding:
    error, payload = _invoke(lab, lab.function(CALLS, timeout=2), "sleep")
    said = error == "Unhandled" and "Task timed out after" in payload.get("errorMessage", "")
    return verdict(said and payload.get("errorType") == "Sandbox.Timedout", _described(error, payload))


def _timeout_kills(lab: Lab) -> Finding:
    results = lab.queue()
    _invoke(lab, lab.function(CALLS, timeout=2, RESULTS=results.url), "sleep")
    try:
        lab.until(lambda: receive(lab, results), seconds=4.5)
    except ProbeTimeout:
        return verdict(True, "nothing more came from it")
    return verdict(False, "it worked on")


def _next_call(do: str, timeout: int, cold: bool) -> Callable[[Lab], Finding]:
    """Whether the call after a failed one finds a new execution environment."""

    def run(lab: Lab) -> Finding:
        function = lab.function(CALLS, timeout=timeout)
        (_, before), _, (_, after) = (_invoke(lab, function, what) for what in ("", do, ""))
        return verdict((before != after) == cold, f"next call {'cold' if before != after else 'warm'}")

    return run


def _crash(lab: Lab) -> Finding:
    error, payload = _invoke(lab, lab.function(CALLS), "exit")
    said = error == "Unhandled" and payload.get("errorType") == "Runtime.ExitError"
    return verdict(said, _described(error, payload))


def _exception(lab: Lab) -> Finding:
    error, payload = _invoke(lab, lab.function(CALLS), "raise")
    said = error == "Unhandled" and (payload.get("errorType"), payload.get("errorMessage")) == ("ValueError", "probe")
    traced = isinstance(payload, dict) and bool(payload.get("stackTrace"))
    return verdict(said and traced, f"{_described(error, payload)}; {'with' if traced else 'without'} stackTrace")


def _in_logs(*wanted: str) -> Callable[[Lab], Finding]:
    """Whether the log of a call holds all of this."""

    def run(lab: Lab) -> Finding:
        function = lab.function(CALLS)
        group, logs = f"/aws/lambda/{function}", lab.aws("logs")
        lab.afterwards(lambda: logs.delete_log_group(logGroupName=group))
        _invoke(lab, function, "log")

        def missing() -> list[str]:
            if outcome(logs.filter_log_events, logGroupName=group) != "accepted":
                return ["log group"]
            text = "\n".join(event["message"] for event in logs.filter_log_events(logGroupName=group)["events"])
            return [line for line in wanted if line not in text]

        try:
            lab.until(missing, lambda seen: not seen, seconds=20)
        except ProbeTimeout:
            return verdict(False, f"missing: {', '.join(missing())}")
        return verdict(True, f"there: {', '.join(wanted)}")

    return run


def _no_events(parsed: Json, **_: Any) -> None:
    parsed["events"] = []


PROBES = (
    Probe(
        "timeout-reported",
        "A function that runs into its time-out answers with the error Sandbox.Timedout, `Task timed out after …`.",
        ENVIRONMENT,
        "The error that API Gateway and the operator see (SubmitTask, make logs); nothing here decides by it.",
        _timeout_reported,
        {"before-parameter-build.lambda.CreateFunction": setting(Timeout=10)},
    ),
    Probe(
        "timeout-kills",
        "A function that runs into its time-out is stopped: nothing more comes from it.",
        ENVIRONMENT,
        "leaseUntil in the claim (the invocation's deadline and a margin). Where the work goes on, two workers may "
        "hold one task; the token still refuses the late write.",
        _timeout_kills,
        {"before-parameter-build.lambda.CreateFunction": setting(Timeout=10)},
    ),
    Probe(
        "timeout-next-call-cold",
        "After a time-out the next call finds a new execution environment.",
        ENVIRONMENT,
        "parts() in the handlers keeps clients for warm calls. Where the old environment lives on, threads of the "
        "stopped work may, too.",
        _next_call("sleep", 2, cold=True),
        {"before-parameter-build.lambda.CreateFunction": setting(Timeout=10)},
    ),
    Probe(
        "crash-reported",
        "A function whose process ends answers with the error Runtime.ExitError.",
        "https://repost.aws/knowledge-center/lambda-runtime-error",
        "Chaos runs kill workers: the batch comes again and the lease decides. Where it differs, only the error reads"
        " otherwise.",
        _crash,
        handler("succeed"),
    ),
    Probe(
        "exception-reported",
        "An exception that nobody catches comes back as FunctionError Unhandled, with errorType, errorMessage and "
        "stackTrace.",
        f"{GUIDE}/python-exceptions.html",
        "SubmitTask and QueryTasks behind the API: a 5xx, an unknown outcome for the client. Where it differs, only "
        "the error reads otherwise.",
        _exception,
        handler("succeed"),
    ),
    Probe(
        "exception-keeps-warm",
        "After an exception the next call finds the same execution environment.",
        ENVIRONMENT,
        "parts() in the handlers. Where the next call is cold, failures look slower than on AWS (handlers here catch "
        "per record, so it is rare).",
        _next_call("raise", 10, cold=False),
        handler("exit_instead"),
    ),
    Probe(
        "output-logged",
        "What a function prints is in CloudWatch Logs under /aws/lambda/<function>, between START, END and REPORT.",
        f"{GUIDE}/python-logging.html",
        "common/telemetry.py writes events and metrics to standard output; `make logs` reads them. Where it is "
        "missing, logs are.",
        _in_logs("START RequestId", "printed line", "END RequestId", "REPORT RequestId"),
        {"after-call.cloudwatch-logs.FilterLogEvents": _no_events},
    ),
    Probe(
        "logging-logged",
        "What a function logs with Python's logging is in CloudWatch Logs, without a handler of its own.",
        f"{GUIDE}/python-logging.html",
        "Kinds of task that use logging; common/telemetry.py brings its own handler. Where it differs, their lines "
        "are lost.",
        _in_logs("logged line"),
        {"after-call.cloudwatch-logs.FilterLogEvents": _no_events},
    ),
)
