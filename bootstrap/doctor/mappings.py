"""Probes of event source mappings: what Lambda does with the messages of a queue."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.doctor.lab import Lab, ProbeTimeout, Queue
from bootstrap.doctor.probe import Finding, Hook, Probe
from bootstrap.doctor.queues import API as SQS_API
from bootstrap.doctor.queues import GUIDE as SQS_GUIDE
from bootstrap.doctor.queues import (
    depth,
    one_receive_more,
    outcome,
    receive,
    sent,
    setting,
    setting_attribute,
    verdict,
    with_dead_letters,
)

GUIDE = "https://docs.aws.amazon.com/lambda/latest/dg"
PARTIAL_BATCH = f"{GUIDE}/services-sqs-errorhandling.html"
Json = dict[str, Any]

RECORDER = '''
import json, os, time
import boto3

sqs = boto3.client("sqs")

def handle(event, context):
    """Works, sets visibility, and sends what it saw to the queue RESULTS."""
    started = time.time()
    time.sleep(float(os.environ.get("WORK", "0")))
    for record in event["Records"]:
        if "HIDE" in os.environ:
            sqs.change_message_visibility(
                QueueUrl=os.environ["SOURCE"],
                ReceiptHandle=record["receiptHandle"],
                VisibilityTimeout=int(os.environ["HIDE"]),
            )
    seen = {"started": started, "ended": time.time(), "records": event["Records"]}
    sqs.send_message(QueueUrl=os.environ["RESULTS"], MessageBody=json.dumps(seen))
    failed = event["Records"] if "HIDE" in os.environ else []
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}
'''

IDLE = """
def handle(event, context):
    return None
"""

ANSWER = """
def handle(event, context):
    ids = [record["messageId"] for record in event["Records"]]
    {body}

def succeed(event, context):
    return None

def fail(event, context):
    raise RuntimeError("negative control")
"""

AGAIN, DELETED = "all came again", "all deleted"
DEPENDS = {
    AGAIN: "BatchResponse in process_task/batch.py and monitor_dlq/handler.py name the failed messages. Where such an"
    " answer deletes the batch, a slip in it loses messages; the sweeper sends their tasks again after 15 "
    "minutes.",
    DELETED: "BatchResponse in process_task/batch.py: a batch without failures. A slip that reads as success loses "
    "messages on AWS; where the batch comes again, the slip stays unseen.",
}


@dataclass
class Recorder:
    """A function that consumes `source` and tells what it saw."""

    lab: Lab
    results: Queue
    _seen: list[Json]

    @classmethod
    def on(cls, lab: Lab, source: Queue, mapping: Mapping[str, Any], **environment: str) -> Recorder:
        results = lab.queue()
        name = lab.function(RECORDER, timeout=10, RESULTS=results.url, SOURCE=source.url, **environment)
        mapped(lab, source, name, **mapping)
        return cls(lab, results, [])

    def seen(self) -> list[Json]:
        """The invocations so far, oldest first."""
        self._seen += [json.loads(message["Body"]) for message in receive(self.lab, self.results, hide=600)]
        return sorted(self._seen, key=lambda invocation: float(invocation["started"]))

    def first(self, number: int, seconds: float = 15) -> list[Json]:
        return self.lab.until(self.seen, lambda seen: len(seen) >= number, seconds)


def mapped(lab: Lab, queue: Queue, function: str, **options: Any) -> None:
    mapping = lab.mapping(queue, function, **options)
    state = lab.aws("lambda").get_event_source_mapping
    lab.until(lambda: state(UUID=mapping)["State"], lambda seen: seen == "Enabled", seconds=60)


def _in_environment(**values: str) -> Hook:
    """Control: the function runs with these variables instead of its own."""

    def hook(params: Json, **_: Any) -> None:
        params["Environment"]["Variables"].update(values)

    return hook


def handler(name: str) -> Mapping[str, Hook]:
    """Control: another function of the module is the handler."""
    return {"before-parameter-build.lambda.CreateFunction": setting(Handler=f"probe.{name}")}


def _visibility_honoured(lab: Lab) -> Finding:
    source = lab.queue(VisibilityTimeout="30")
    recorder = Recorder.on(lab, source, {}, HIDE="2")
    sent(lab, source)
    changed = recorder.first(1)[0]["ended"]
    try:
        waited = recorder.first(2, seconds=20)[1]["started"] - changed
    except ProbeTimeout:
        return verdict(False, "set to 2 s, queue 30 s: not again within 20 s")
    return verdict(waited >= 1.8, f"set to 2 s, queue 30 s: again after {waited:.1f} s")


def _mapping_dead_letter(lab: Lab) -> Finding:
    source, dead = with_dead_letters(lab, 3, VisibilityTimeout="30")
    recorder = Recorder.on(lab, source, {}, HIDE="0")
    sent(lab, source)
    lab.until(lambda: receive(lab, dead), seconds=45)
    counts = [_attribute(invocation, "ApproximateReceiveCount") for invocation in recorder.seen()]
    return verdict(counts == ["1", "2", "3"], f"maxReceiveCount 3: receives {', '.join(map(str, counts))}, then moved")


def _attribute(invocation: Json, name: str) -> str | None:
    found = invocation["records"][0]["attributes"].get(name)
    return None if found is None else str(found)


def _source_in_event(lab: Lab) -> Finding:
    source, dead = with_dead_letters(lab, 1)
    recorder = Recorder.on(lab, dead, {"BatchSize": 1})
    sent(lab, dead)
    sent(lab, source)
    lab.until(lambda: (receive(lab, source), sum(depth(lab, source)))[1], lambda left: left == 0, seconds=30)
    sources = [_attribute(invocation, "DeadLetterQueueSourceArn") for invocation in recorder.first(2)]
    moved = "named" if source.arn in sources else "not named"
    by_hand = "absent" if None in sources else "present"
    return verdict(set(sources) == {source.arn, None}, f"moved by SQS: {moved}; sent by hand: {by_hand}")


def _unnamed_in_results(parsed: Json, **_: Any) -> None:
    for message in parsed.get("Messages", []):
        message["Body"] = message["Body"].replace("DeadLetterQueueSourceArn", "Nothing")


def _window(lab: Lab) -> Finding:
    source = lab.queue(VisibilityTimeout="30")
    recorder = Recorder.on(lab, source, {"BatchSize": 10, "MaximumBatchingWindowInSeconds": 3})
    sent(lab, source)
    recorder.first(1)  # Or a cold start would pass for the window.
    for _ in range(9):
        sent(lab, source)
        time.sleep(0.4)
    lab.until(lambda: sum(len(invocation["records"]) for invocation in recorder.seen()), lambda seen: seen >= 10)
    batches = recorder.seen()[1:]
    longest = max(_waited(invocation) for invocation in batches)
    return verdict(longest >= 2, f"window 3 s: 9 messages in {len(batches)} batches, longest wait {longest:.1f} s")


def _waited(invocation: Json) -> float:
    """From the sending of its oldest message to the start of the function."""
    oldest = min(int(record["attributes"]["SentTimestamp"]) for record in invocation["records"])
    return float(invocation["started"]) - oldest / 1000


def _cap(lab: Lab) -> Finding:
    source = lab.queue(VisibilityTimeout="30")
    options = {"BatchSize": 1, "ScalingConfig": {"MaximumConcurrency": 2}}
    recorder = Recorder.on(lab, source, options, WORK="1")
    for _ in range(6):
        sent(lab, source)
    most = _most_at_once(recorder.first(6, seconds=30))
    return verdict(most == 2, f"cap 2, six batches: {most} at once")


def _most_at_once(invocations: list[Json]) -> int:
    spans = [(float(invocation["started"]), float(invocation["ended"])) for invocation in invocations]
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


def _short_visibility(lab: Lab) -> Finding:
    queue = lab.queue(VisibilityTimeout="5")
    function = lab.function(IDLE, timeout=10)
    code = outcome(lab.mapping, queue=queue, function=function)
    return verdict(code == "InvalidParameterValueException", f"visibility 5 s, time-out 10 s: {code}")


def _throttled(lab: Lab) -> Finding:
    source, dead = with_dead_letters(lab, 1, VisibilityTimeout="3")
    function = lab.function(IDLE, timeout=3)
    lab.aws("lambda").put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    sent(lab, source)
    mapped(lab, source, function)
    fate = _fate(lab, source, dead, 1)
    return verdict(fate == AGAIN, f"no concurrency left, one message: {fate}")


def _fate(lab: Lab, source: Queue, dead: Queue, number: int) -> str:
    """What became of so many messages, each of which may be received once and then goes on to `dead`."""
    try:
        lab.until(lambda: sum(depth(lab, source)), lambda left: left == 0, seconds=12)
    except ProbeTimeout:
        return "still there after 12 s"
    try:
        again = lab.until(lambda: depth(lab, dead)[0], lambda seen: seen == number, seconds=1)
    except ProbeTimeout:
        again = depth(lab, dead)[0]
    return {number: AGAIN, 0: DELETED}.get(again, f"{again} of {number} came again")


def _batch(name: str, answer: str, body: str, expected: str, control: Mapping[str, Hook]) -> Probe:
    """A probe of one form of a partial batch response."""

    def run(lab: Lab) -> Finding:
        source, dead = with_dead_letters(lab, 1, VisibilityTimeout="3")
        function = lab.function(ANSWER.format(body=body), timeout=3)
        for _ in range(2):
            sent(lab, source)
        mapped(lab, source, function)
        fate = _fate(lab, source, dead, 2)
        return verdict(fate == expected, fate)

    rule = f"A batch answered with {answer} " + ("comes again as a whole." if expected == AGAIN else "is deleted.")
    return Probe(f"batch-{name}", rule, PARTIAL_BATCH, DEPENDS[expected], run, control)


def _reported(name: str, answer: str, response: str) -> Probe:
    """A form that Lambda takes for the failure of the whole batch."""
    without_report = {"before-parameter-build.lambda.CreateEventSourceMapping": setting(FunctionResponseTypes=[])}
    return _batch(name, answer, f"return {response}", AGAIN, without_report)


def _accepted(name: str, answer: str, response: str) -> Probe:
    """A form that Lambda takes for success."""
    return _batch(name, answer, f"return {response}", DELETED, handler("fail"))


PROBES = (
    Probe(
        "visibility-change-honoured",
        "A handler's ChangeMessageVisibility decides when the message that it reports as failed comes again.",
        PARTIAL_BATCH,
        "respond() in process_task/batch.py: the exponential backoff. Ignored, every retry waits for the queue's own "
        "visibility timeout (180 s), or comes at once.",
        _visibility_honoured,
        {"before-parameter-build.lambda.CreateFunction": _in_environment(HIDE="60")},
    ),
    Probe(
        "mapping-dead-letter-at-exact-receive",
        "A function gets a message that always fails maxReceiveCount times, counted; then it is in the dead-letter "
        "queue.",
        f"{SQS_GUIDE}/sqs-dead-letter-queues.html",
        "A task's last attempt ends in the DLQ by visibility 0 until SQS moves it. Where it differs, FAILED_FINAL "
        "tasks are recorded late, by the sweeper.",
        _mapping_dead_letter,
        {"before-parameter-build.sqs.CreateQueue": one_receive_more},
    ),
    Probe(
        "dead-letter-source-in-event",
        "The event of a function on a dead-letter queue has DeadLetterQueueSourceArn for what SQS moved, and only for"
        " that.",
        f"{SQS_API}/API_ReceiveMessage.html",
        "monitor_dlq/handler.py puts it into the dead letter's record. Where it is missing, that field is empty.",
        _source_in_event,
        {"after-call.sqs.ReceiveMessage": _unnamed_in_results},
    ),
    Probe(
        "batch-window-waits",
        "With a batch window, a batch that is not full waits for the window to pass.",
        f"{GUIDE}/services-sqs-configure.html",
        "BatchWindowSeconds in app.yaml (0 by default): cost. Where it is ignored, batches are smaller and a task "
        "starts sooner than on AWS.",
        _window,
        {"before-parameter-build.lambda.CreateEventSourceMapping": setting(MaximumBatchingWindowInSeconds=0)},
    ),
    Probe(
        "concurrency-cap",
        "MaximumConcurrency caps the batches that a mapping works on at once, and so many do run at once.",
        f"{GUIDE}/services-sqs-scaling.html",
        "MaxConcurrency in app.yaml. Without the cap a burst overruns what the work calls; with one batch at a time, "
        "load tests say nothing about AWS.",
        _cap,
        {"before-parameter-build.lambda.CreateEventSourceMapping": setting(ScalingConfig={"MaximumConcurrency": 10})},
    ),
    Probe(
        "short-visibility-refused",
        "A mapping is refused when the queue's visibility timeout is shorter than the function's time-out.",
        f"{GUIDE}/services-sqs-configure.html",
        "QueueVisibilitySeconds in storage.yaml (six times the time-out, by bootstrap/settings.py). Where it is "
        "accepted, a wrong pair shows first on AWS.",
        _short_visibility,
        {"before-parameter-build.sqs.CreateQueue": setting_attribute("VisibilityTimeout", "60")},
    ),
    Probe(
        "throttling-burns-receives",
        "A message whose function is throttled until its visibility timeout is over has used up a receive.",
        PARTIAL_BATCH,
        "MaxReceiveCount above the attempts, and monitor_dlq's handing back of tasks that have attempts left. Where "
        "it differs, that path is never taken locally.",
        _throttled,
        {"before-parameter-build.lambda.PutFunctionConcurrency": setting(ReservedConcurrentExecutions=5)},
    ),
    _batch("exception", "an exception", 'raise ValueError("probe")', AGAIN, handler("succeed")),
    _reported("unknown-id", "an itemIdentifier that is not in it", '{"batchItemFailures": [{"itemIdentifier": "x"}]}'),
    _reported("empty-id", "an empty itemIdentifier", '{"batchItemFailures": [{"itemIdentifier": ""}]}'),
    _reported("null-id", "a null itemIdentifier", '{"batchItemFailures": [{"itemIdentifier": None}]}'),
    _reported("wrong-inner-key", "a wrong key for itemIdentifier", '{"batchItemFailures": [{"id": ids[0]}]}'),
    _accepted("empty-list", "an empty list of failures", '{"batchItemFailures": []}'),
    _accepted("null-list", "null for the list of failures", '{"batchItemFailures": None}'),
    _accepted("empty-response", "an empty object", "{}"),
    _accepted("null-response", "null", "None"),
    _accepted("wrong-top-key", "a wrong key for batchItemFailures", '{"failures": [{"itemIdentifier": ids[0]}]}'),
)
