"""Probes of SQS by itself: limits, receipts, and the way to the dead-letter queue."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from bootstrap.doctor.lab import Lab, ProbeTimeout, Queue
from bootstrap.doctor.probe import Finding, Hook, Probe, as_aws, differs

GUIDE = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide"
API = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference"
Message = dict[str, Any]

MAX_VISIBILITY = 43_200
MAX_DELAY = 900
MAX_BYTES = 1_048_576


def verdict(holds: object, seen: str) -> Finding:
    return as_aws(seen) if holds else differs(seen)


def outcome(call: Callable[..., object], **parameters: Any) -> str:
    """The error code of a call; "accepted" when there was none."""
    try:
        call(**parameters)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "accepted"


def sent(lab: Lab, queue: Queue, body: str = "probe") -> str:
    """Send one message; its id."""
    return str(lab.aws("sqs").send_message(QueueUrl=queue.url, MessageBody=body)["MessageId"])


def receive(lab: Lab, queue: Queue, hide: int = 0) -> list[Message]:
    found = lab.aws("sqs").receive_message(
        QueueUrl=queue.url, MaxNumberOfMessages=10, VisibilityTimeout=hide, MessageSystemAttributeNames=["All"]
    )
    return list(found.get("Messages", []))


def receive_one(lab: Lab, queue: Queue, hide: int = 0) -> Message:
    return lab.until(lambda: receive(lab, queue, hide), seconds=30)[0]


def depth(lab: Lab, queue: Queue) -> tuple[int, int]:
    """Messages that can be received, and messages hidden from receives."""
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    found = lab.aws("sqs").get_queue_attributes(QueueUrl=queue.url, AttributeNames=list(names))["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def with_dead_letters(lab: Lab, receives: int, **attributes: str) -> tuple[Queue, Queue]:
    """A queue, and the one that its messages go to after so many receives."""
    dead = lab.queue()
    policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": receives}
    return lab.queue(RedrivePolicy=json.dumps(policy), **attributes), dead


def setting(**values: Any) -> Hook:
    """Control: the call is made with these parameters instead of its own."""

    def hook(params: dict[str, Any], **_: Any) -> None:
        params.update(values)

    return hook


def setting_attribute(name: str, value: str) -> Hook:
    """Control: the queue is made with this attribute instead of its own."""

    def hook(params: dict[str, Any], **_: Any) -> None:
        if name in params["Attributes"]:
            params["Attributes"][name] = value

    return hook


def one_receive_more(params: dict[str, Any], **_: Any) -> None:
    """Control: the queue lets a message be received once more than asked for."""
    policy = json.loads(params["Attributes"].get("RedrivePolicy", "null"))
    if policy:
        policy["maxReceiveCount"] += 1
        params["Attributes"]["RedrivePolicy"] = json.dumps(policy)


def _refusing(code: str) -> Hook:
    def hook(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "negative control"}}, "control")

    return hook


def _changing_messages(change: Callable[[Message], object]) -> Hook:
    def hook(parsed: dict[str, Any], **_: Any) -> None:
        for message in parsed.get("Messages", []):
            change(message)

    return hook


def _receive_counts(lab: Lab) -> Finding:
    queue = lab.queue()
    sent(lab, queue)
    counts = [receive_one(lab, queue)["Attributes"]["ApproximateReceiveCount"] for _ in range(3)]
    return verdict(counts == ["1", "2", "3"], f"counts of three receives: {', '.join(counts)}")


def _never_counted(message: Message) -> None:
    message["Attributes"]["ApproximateReceiveCount"] = "1"


def _to_dead_letters(lab: Lab, source: Queue, dead: Queue) -> tuple[list[str], Message]:
    """Receive until the message is in the other queue: its ids on the way, and what arrived."""
    ids: list[str] = []

    def step() -> list[Message]:
        ids.extend(message["MessageId"] for message in receive(lab, source))
        return receive(lab, dead)

    return ids, lab.until(step, seconds=30)[0]


def _dead_after_receives(lab: Lab) -> Finding:
    source, dead = with_dead_letters(lab, 3)
    sent(lab, source)
    ids, _ = _to_dead_letters(lab, source, dead)
    return verdict(len(ids) == 3, f"maxReceiveCount 3: received {len(ids)} times, then moved")


def _message_id(lab: Lab) -> Finding:
    source, dead = with_dead_letters(lab, 2)
    original = sent(lab, source)
    ids, moved = _to_dead_letters(lab, source, dead)
    same, kept = set(ids) == {original}, moved["MessageId"] == original
    return verdict(same and kept, f"redelivered: {_same(same)}; in the dead-letter queue: {_same(kept)}")


def _same(same: bool) -> str:
    return "same id" if same else "another id"


def _new_id(message: Message) -> None:
    message["MessageId"] = str(uuid.uuid4())


def _dead_letter_source(lab: Lab) -> Finding:
    source, dead = with_dead_letters(lab, 1)
    by_hand = sent(lab, dead)
    sent(lab, source)
    sources: dict[str, str | None] = {}

    def step() -> int:
        receive(lab, source)
        for message in receive(lab, dead):
            sources[message["MessageId"]] = message["Attributes"].get("DeadLetterQueueSourceArn")
        return len(sources)

    lab.until(step, lambda seen: seen == 2, seconds=30)
    absent = sources.pop(by_hand) is None
    named = list(sources.values()) == [source.arn]
    return verdict(
        named and absent,
        f"moved by SQS: {'named' if named else 'not named'}; sent by hand: {'absent' if absent else 'present'}",
    )


def _without_source(message: Message) -> None:
    message["Attributes"].pop("DeadLetterQueueSourceArn", None)


def _stale_delete(lab: Lab) -> Finding:
    queue = lab.queue()
    sent(lab, queue)
    stale = receive_one(lab, queue)["ReceiptHandle"]
    receive_one(lab, queue)
    code = outcome(lab.aws("sqs").delete_message, QueueUrl=queue.url, ReceiptHandle=stale)
    left = "message still there" if receive(lab, queue) else "message deleted"
    return verdict(code == "accepted", f"{code}; {left}")


def _stale_hide(lab: Lab) -> Finding:
    queue = lab.queue()
    sent(lab, queue)
    stale = receive_one(lab, queue, hide=1)["ReceiptHandle"]
    lab.until(lambda: depth(lab, queue)[0], seconds=30)
    code = outcome(
        lab.aws("sqs").change_message_visibility, QueueUrl=queue.url, ReceiptHandle=stale, VisibilityTimeout=30
    )
    hidden = not receive(lab, queue)
    refused = code not in ("accepted", "InternalError")
    return verdict(refused and not hidden, f"{code}; message {'hidden' if hidden else 'visible'}")


def _swallowed(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
    """Control: the service takes what it should refuse."""
    http_response.status_code = 200
    parsed.pop("Error", None)


def _hide_limit(lab: Lab) -> Finding:
    queue = lab.queue()
    sent(lab, queue)
    handle = receive_one(lab, queue, hide=30)["ReceiptHandle"]
    code = outcome(
        lab.aws("sqs").change_message_visibility,
        QueueUrl=queue.url,
        ReceiptHandle=handle,
        VisibilityTimeout=MAX_VISIBILITY + 1,
    )
    return verdict(code == "InvalidParameterValue", f"{MAX_VISIBILITY + 1} s: {code}")


def _hide_total(lab: Lab) -> Finding:
    queue = lab.queue()
    sent(lab, queue)
    handle = receive_one(lab, queue, hide=60)["ReceiptHandle"]
    time.sleep(2)
    code = outcome(
        lab.aws("sqs").change_message_visibility,
        QueueUrl=queue.url,
        ReceiptHandle=handle,
        VisibilityTimeout=MAX_VISIBILITY,
    )
    return verdict(code == "InvalidParameterValue", f"{MAX_VISIBILITY} s, 2 s after the receive: {code}")


def _delay_limit(lab: Lab) -> Finding:
    queue, send = lab.queue(), lab.aws("sqs").send_message
    longest, over = (
        outcome(send, QueueUrl=queue.url, MessageBody="probe", DelaySeconds=seconds)
        for seconds in (MAX_DELAY, MAX_DELAY + 1)
    )
    holds = longest == "accepted" and over == "InvalidParameterValue"
    return verdict(holds, f"{MAX_DELAY} s: {longest}; {MAX_DELAY + 1} s: {over}")


def _size_limit(lab: Lab) -> Finding:
    queue, send = lab.queue(), lab.aws("sqs").send_message
    largest, over = (
        outcome(send, QueueUrl=queue.url, MessageBody="x" * length) for length in (MAX_BYTES, MAX_BYTES + 1)
    )
    holds = largest == "accepted" and over == "InvalidParameterValue"
    return verdict(holds, f"{MAX_BYTES} bytes: {largest}; one more: {over}")


def _moved_back(lab: Lab) -> tuple[str, bool]:
    """What StartMessageMoveTask said, and whether the message that it brought back has a new id."""
    source, dead = with_dead_letters(lab, 1)
    original = sent(lab, source)
    _to_dead_letters(lab, source, dead)
    code = outcome(lab.aws("sqs").start_message_move_task, SourceArn=dead.arn)
    if code != "accepted":
        return code, False
    try:
        return "moved back", receive_one(lab, source)["MessageId"] != original
    except ProbeTimeout:
        return "accepted, but nothing came back within 10 s", False


def _move_task(lab: Lab) -> Finding:
    said, _ = _moved_back(lab)
    return verdict(said == "moved back", said)


def _move_task_id(lab: Lab) -> Finding:
    said, new = _moved_back(lab)
    return verdict(new, f"moved back, {_same(not new)}" if said == "moved back" else said)


PROBES = (
    Probe(
        "receives-counted",
        "ApproximateReceiveCount grows by one with each receive.",
        f"{API}/API_ReceiveMessage.html",
        "process_task keeps (messageId, receive count) as the mark of a delivery. Where it does not grow, two "
        "deliveries look like one in the timeline.",
        _receive_counts,
        {"after-call.sqs.ReceiveMessage": _changing_messages(_never_counted)},
    ),
    Probe(
        "dead-letter-at-exact-receive",
        "A message is received maxReceiveCount times; the next receive moves it to the dead-letter queue.",
        f"{GUIDE}/sqs-dead-letter-queues.html",
        "MaxReceiveCount in storage.yaml (attempts + 2, at least 5). Moved earlier, a task loses attempts; later, its"
        " end comes late.",
        _dead_after_receives,
        {"before-parameter-build.sqs.CreateQueue": one_receive_more},
    ),
    Probe(
        "message-id-kept",
        "MessageId stays the same over redeliveries and when SQS moves the message to the dead-letter queue.",
        f"{GUIDE}/sqs-dead-letter-queues.html",
        "The claim tells its own message from a copy by messageId, and monitor_dlq counts hand-backs by it. With a "
        "new id a message in backoff is taken for a copy and acknowledged, until the sweeper sends another.",
        _message_id,
        {"after-call.sqs.ReceiveMessage": _changing_messages(_new_id)},
    ),
    Probe(
        "dead-letter-source-named",
        "DeadLetterQueueSourceArn is there on a message that SQS itself moved, and only there.",
        f"{API}/API_ReceiveMessage.html",
        "The dead letter's record says where it came from. Where it is missing, only that field is empty.",
        _dead_letter_source,
        {"after-call.sqs.ReceiveMessage": _changing_messages(_without_source)},
    ),
    Probe(
        "stale-receipt-delete",
        "DeleteMessage with the handle of an earlier receive succeeds, though the message might stay.",
        f"{API}/API_DeleteMessage.html",
        "The event source mapping deletes for ProcessTask and MonitorDlq after they return. Where it is an error, a "
        "batch that outlived its visibility timeout shows as an error instead of a second delivery.",
        _stale_delete,
        {"before-call.sqs.DeleteMessage": _refusing("ReceiptHandleIsInvalid")},
    ),
    Probe(
        "stale-receipt-visibility",
        "Once its visibility timeout is over, a receive's handle cannot hide the message any more: MessageNotInflight.",
        f"{API}/API_ChangeMessageVisibility.html",
        "respond() in process_task/batch.py: a late change must not hide another delivery. Where it does, a retry "
        "comes later than planned; no task is lost.",
        _stale_hide,
        {"after-call.sqs.ChangeMessageVisibility": _swallowed},
    ),
    Probe(
        "visibility-limit",
        "A visibility timeout over 43,200 s is refused.",
        f"{API}/API_ChangeMessageVisibility.html",
        "TaskQueue.hide. Waits over 900 s are parked, so no wait comes near; a target without the limit would hide a "
        "mistake there.",
        _hide_limit,
        {"before-parameter-build.sqs.ChangeMessageVisibility": setting(VisibilityTimeout=600)},
    ),
    Probe(
        "visibility-total-limit",
        "A message may be hidden for 12 hours from its receive in all; more is refused, not shortened.",
        f"{GUIDE}/sqs-visibility-timeout.html",
        "TaskQueue.hide: why long waits are parked and not added up. A target without it would hide a mistake there.",
        _hide_total,
        {"before-parameter-build.sqs.ChangeMessageVisibility": setting(VisibilityTimeout=600)},
    ),
    Probe(
        "delay-limit",
        "A message can be held back for 900 s and no longer.",
        f"{API}/API_SendMessage.html",
        "MAX_DELAY_SECONDS in common/queue.py: a task due later is parked. A target that takes more would hide a "
        "mistake there.",
        _delay_limit,
        {"before-parameter-build.sqs.SendMessage": setting(DelaySeconds=0)},
    ),
    Probe(
        "message-size-limit",
        "A message of 1 MiB (1,048,576 bytes) is taken, and one byte more is refused.",
        f"{API}/API_SendMessage.html",
        "Messages carry an id, never a payload (body_of in common/queue.py), so nothing here comes near it.",
        _size_limit,
        {"before-parameter-build.sqs.SendMessage": setting(MessageBody="short")},
    ),
    Probe(
        "message-move-task",
        "StartMessageMoveTask moves messages from a dead-letter queue back to where they came from.",
        f"{API}/API_StartMessageMoveTask.html",
        "No code: an operator's tool beside `tasks redrive`. Where it is missing, only redrive is there.",
        _move_task,
        {"before-call.sqs.StartMessageMoveTask": _refusing("UnsupportedOperation")},
    ),
    Probe(
        "moved-message-gets-new-id",
        "A message that StartMessageMoveTask brings back is a new message, with a new MessageId.",
        f"{GUIDE}/sqs-configure-dead-letter-queue-redrive.html",
        "monitor_dlq's set of hand-backs is keyed by messageId. With the old id a second return is not counted.",
        _move_task_id,
        {"before-call.sqs.StartMessageMoveTask": _refusing("UnsupportedOperation")},
    ),
)
