"""Queues, and the functions that Lambda feeds from them."""

from __future__ import annotations

from collections.abc import Iterator

from bootstrap.rules.rule import Finding, rule
from bootstrap.rules.system import MOST_RETENTION_SECONDS, WORKER, System, whole
from bootstrap.settings import KEPT_SECONDS, LEAST_MAX_RECEIVES, RECEIVE_MARGIN, VISIBILITY_FACTOR

LEASE_MARGIN_MS = 5_000
"""How much longer than its invocation a lease lasts: lambdas/process_task/attempt.py (a test compares the two)."""
SLOW_CALL_SECONDS = 3
"""One call that hangs until its time-outs, connect and read, in lambdas/common/aws.py (a test compares the two)."""
MOST_WITHOUT_WINDOW = 10
CAPS = range(2, 1001)
CONFIGURE = "lambda/latest/dg/services-sqs-configure.html"


@rule("Lambda: configuring a queue to use with Lambda", CONFIGURE)
def visibility_outlasts_retries(system: System) -> Iterator[Finding]:
    """A queue's visibility timeout is at least six times the time-out of its function, plus the batch window."""
    for source in system.sources:
        least = VISIBILITY_FACTOR * source.function.timeout + source.window
        if source.visibility < least:
            function = source.function
            told = f"{VISIBILITY_FACTOR} x {function.timeout} s of {function.name} + {source.window} s of window"
            wrong = f"VisibilityTimeout is {source.visibility} s, under {told}"
            yield Finding(source.queue.name, wrong, f"{least} or more")


@rule("SQS: visibility timeout", "AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html")
def lease_ends_before_redelivery(system: System) -> Iterator[Finding]:
    """When the message of a worker that died comes back, the lease on its task (time-out + margin) is over."""
    margin = LEASE_MARGIN_MS / 1000
    for source in system.sources:
        lease = source.function.timeout + margin
        if source.function.name == WORKER and source.visibility <= lease:
            wrong = f"VisibilityTimeout is {source.visibility} s, and a lease lasts {lease:g} s"
            yield Finding(source.queue.name, wrong, f"more than {lease:g}")


@rule("Lambda: configuring a queue to use with Lambda", CONFIGURE)
def receives_outnumber_attempts(system: System) -> Iterator[Finding]:
    """A message may be received at least five times, and more often than a task of any kind has attempts."""
    least = max(LEAST_MAX_RECEIVES, system.attempts + RECEIVE_MARGIN)
    dead_letter_queues = {queue.name for queue in system.dead_letter_queues.values()}
    for queue in (source.queue for source in system.sources if source.queue.name not in dead_letter_queues):
        if queue.name not in system.dead_letter_queues:
            yield Finding(queue.name, "has no dead-letter queue", "a RedrivePolicy")
            continue
        receives = whole(queue.properties["RedrivePolicy"], "maxReceiveCount", 10, queue.name)
        if receives < least:
            told = f"{receives}, with {system.attempts} attempts of a task"
            yield Finding(queue.name, f"maxReceiveCount is {told}", f"{least} or more")


@rule("Lambda: handling errors for an SQS event source", "lambda/latest/dg/services-sqs-errorhandling.html")
def partial_batch_response(system: System) -> Iterator[Finding]:
    """Each function says which messages of a batch failed; else one failure brings the whole batch again."""
    for source in system.sources:
        if "ReportBatchItemFailures" not in source.properties.get("FunctionResponseTypes", []):
            yield Finding(source.name, "no partial batch response", "FunctionResponseTypes: [ReportBatchItemFailures]")


@rule("Lambda: configuring a queue to use with Lambda", CONFIGURE)
def batch_ends_in_time(system: System) -> Iterator[Finding]:
    """The worst case of a whole batch ends within the function's time-out.

    ProcessTask works on all messages side by side, so its worst case is the longest attempt. Any other function takes
    them one by one, and each may meet one call that hangs.
    """
    for source in system.sources:
        if source.function.name == WORKER:
            yield from _worker(system, source.batch_size, source.function.timeout)
        elif source.batch_size * SLOW_CALL_SECONDS > source.function.timeout:
            worst = source.batch_size * SLOW_CALL_SECONDS
            wrong = f"{source.batch_size} messages may take {worst} s, the time-out is {source.function.timeout} s"
            yield Finding(source.function.name, wrong, f"Timeout: {worst}, or a smaller BatchSize of {source.name}")


def _worker(system: System, batch_size: int, timeout: int) -> Iterator[Finding]:
    threads = whole(system.functions[WORKER].variables, "BATCH_THREADS", 1, WORKER)
    if threads < batch_size:
        yield Finding(WORKER, f"{threads} threads for batches of {batch_size}", f"BATCH_THREADS: {batch_size}")
    for kind in system.kinds:
        if kind.timeout_seconds is not None and kind.timeout_seconds + KEPT_SECONDS > timeout:
            needs = f"kind {kind.name} may take {kind.timeout_seconds:g} s + {KEPT_SECONDS} s to begin and end"
            yield Finding(WORKER, f"{needs}, the time-out is {timeout} s", "a larger PROCESS_TIMEOUT_SECONDS")


@rule("Lambda: configuring a queue to use with Lambda", CONFIGURE)
def large_batch_has_window(system: System) -> Iterator[Finding]:
    """A batch of more than ten messages needs a batch window of at least one second."""
    for source in system.sources:
        if source.batch_size > MOST_WITHOUT_WINDOW and source.window < 1:
            yield Finding(
                source.name, f"BatchSize {source.batch_size} without a window", "BATCH_WINDOW_SECONDS=1 or more"
            )


@rule("Lambda: scaling for SQS event source mappings", "lambda/latest/dg/services-sqs-scaling.html")
def concurrency_is_capped(system: System) -> Iterator[Finding]:
    """Each mapping caps the invocations it runs at once, from 2 to 1,000; throttling would burn receives instead."""
    for source in system.sources:
        cap = whole(source.properties.get("ScalingConfig", {}), "MaximumConcurrency", 0, source.name)
        if cap not in CAPS:
            right = f"ScalingConfig: {{MaximumConcurrency: {CAPS[0]} to {CAPS[-1]}}}"
            yield Finding(source.name, f"MaximumConcurrency is {cap}" if cap else "no MaximumConcurrency", right)


@rule("SQS: dead-letter queues", "AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html")
def dead_letters_outlive_their_queue(system: System) -> Iterator[Finding]:
    """A dead-letter queue keeps messages for 14 days, more than its source: the time counts from the first send."""
    for name, dead in system.dead_letter_queues.items():
        queue = system.resources[name]
        kept, before = (whole(one.properties, "MessageRetentionPeriod", 345_600, one.name) for one in (dead, queue))
        if kept != MOST_RETENTION_SECONDS:
            yield Finding(dead.name, f"MessageRetentionPeriod is {kept} s", f"{MOST_RETENTION_SECONDS} (14 days)")
        if before >= kept:
            wrong = f"keeps messages for {before} s, {dead.name} for {kept} s"
            yield Finding(name, wrong, f"QUEUE_RETENTION_SECONDS under {kept}")
