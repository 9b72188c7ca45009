"""LocalStack's execution environment of a function version, with a process where LocalStack has a container."""

import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localstack.services.lambda_.invocation.lambda_models import FunctionVersion, InvocationResult
from localstack.services.lambda_.invocation.runtime_executor import LambdaRuntimeException, RuntimeExecutor

from localstack_process_lambda import handler_environment, outcomes
from localstack_process_lambda.handler_process import HandlerProcess, start_gate
from localstack_process_lambda.outcomes import Outcome, Report
from localstack_process_lambda.runtime_api import Event, Exited, InitError, Invocation, Ready, Response

LOG = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
# AWS gives a cold start ten seconds before the first invocation; one that takes longer is begun again on its time.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
INIT_LIMIT_SECONDS = 10.0
START_GATE_LIMIT_SECONDS = 45.0
# Where handlers find awslambdaric and boto3, and none of LocalStack's own packages.
PYTHON_VARIABLE = "LAMBDA_PROCESS_PYTHON"


class ProcessRuntimeExecutor(RuntimeExecutor):
    """Runs one invocation at a time, as LocalStack guarantees; `stop` may come from another thread at any time.

    After a time-out, a crash or a failed init the environment lives on and its next invocation starts cold, as on AWS.
    A failed init is answered by `invoke` and not raised by `start`, or LocalStack would drop the log of why it failed.
    """

    def __init__(self, id: str, function_version: FunctionVersion) -> None:
        super().__init__(id, function_version)
        self._config = function_version.config
        self._environment: dict[str, str] = {}
        self._workspace: Path | None = None  # the environment's own HOME and TMPDIR
        self._process: HandlerProcess | None = None
        self._cold_start: _ColdStart | None = None
        self._log_before = ""  # printed outside of any invocation
        self._lock = threading.Lock()
        self._invoking = False
        self._stopped = False

    # --- LocalStack's interface

    def start(self, env_vars: Mapping[str, object]) -> None:
        self._workspace = Path(tempfile.mkdtemp(prefix="lambda-environment-"))
        self._environment = handler_environment.build(
            env_vars, self._config.environment or {}, self._config.runtime, self._code, self._workspace
        )
        try:
            self._cold_start = self._init(time.monotonic() + START_GATE_LIMIT_SECONDS, INIT_LIMIT_SECONDS)
        except TimeoutError as error:
            raise LambdaRuntimeException(str(error)) from error
        with self._lock:
            if self._stopped:
                self._discard()
                raise LambdaRuntimeException("stopped while it was starting")

    def stop(self) -> None:
        """An invocation under way is finished first, as on AWS when a function is updated."""
        with self._lock:
            self._stopped = True
            if not self._invoking:
                self._discard()

    def invoke(self, payload: Mapping[str, str]) -> InvocationResult:
        with self._lock:
            self._invoking = True
        try:
            return self._invoke(payload)
        finally:
            with self._lock:
                self._invoking = False
                if self._stopped:
                    self._discard()

    def get_logs(self) -> str:
        return self._log_before

    def get_address(self) -> str:
        return LOOPBACK

    def get_endpoint_from_executor(self) -> str:
        return LOOPBACK

    def get_runtime_endpoint(self) -> str:
        return f"http://{LOOPBACK}"

    @classmethod
    def prepare_version(cls, function_version: FunctionVersion) -> None:
        config = function_version.config
        if not str(config.runtime or "").startswith("python"):
            raise LambdaRuntimeException(
                f"runtime {config.runtime or 'container image'}: only Python runs as a process"
            )
        if config.layers:
            LOG.warning(
                "Layers of %s are not applied: put their content into its package", function_version.qualified_arn
            )
        if config.code:
            config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: FunctionVersion) -> None:
        """LocalStack deletes the unzipped code itself."""

    @classmethod
    def validate_environment(cls) -> bool:
        if shutil.which(_python()):
            return True
        LOG.warning("%s=%s is no program: no Lambda function can run", PYTHON_VARIABLE, _python())
        return False

    # --- one invocation

    def _invoke(self, payload: Mapping[str, str]) -> InvocationResult:
        request_id = payload["invoke-id"]
        cold_start, self._cold_start = self._cold_start, None
        started = time.monotonic()
        failure = _init_failure(cold_start.event, request_id) if cold_start else None
        outcome = failure or self._run(payload, started + self._config.timeout)
        duration_ms = (time.monotonic() - started) * 1000
        log = self._log_of(request_id, outcome, duration_ms, cold_start.duration_ms if cold_start else None)
        if outcome.status:
            self._end_process()
        return InvocationResult(request_id, outcome.payload, outcome.is_error, logs=log)

    def _run(self, payload: Mapping[str, str], deadline: float) -> Outcome:
        """Hand the invocation over and wait for what becomes of it; a dead process is started again on its time."""
        request_id = payload["invoke-id"]
        if self._process is None or not self._process.is_alive:
            try:
                event = self._init(deadline, deadline - time.monotonic()).event
            except TimeoutError:
                event = None
            if failure := _init_failure(event, request_id):
                return failure
        if self._process is None:
            return outcomes.timed_out(request_id, self._config.timeout)
        self._process.submit(_invocation(payload, time.time() + deadline - time.monotonic()))
        return self._await_response(self._process, request_id, deadline)

    def _await_response(self, process: HandlerProcess, request_id: str, deadline: float) -> Outcome:
        while (event := process.next_event(deadline)) is not None:
            match event:
                case Response(request_id=answered, payload=body, is_error=is_error) if answered == request_id:
                    return outcomes.raised(body) if is_error else outcomes.succeeded(body)
                case Exited(returncode=returncode):
                    return outcomes.crashed(request_id, returncode)
        return outcomes.timed_out(request_id, self._config.timeout)

    def _log_of(self, request_id: str, outcome: Outcome, duration_ms: float, init_ms: float | None) -> str:
        before, self._log_before = self._log_before, ""
        report = Report(
            request_id=request_id,
            duration_ms=min(duration_ms, self._config.timeout * 1000.0),
            init_ms=init_ms,
            memory_mb=self._config.memory_size,
            peak_memory_mb=self._process.peak_memory_mb() if self._process else 0,
            status=outcome.status,
        )
        return "".join(
            [
                before,
                outcomes.start_line(request_id, self.function_version.id.qualifier),
                self._process.take_output() if self._process else "",
                outcome.log_line,
                outcomes.end_lines(report),
            ]
        )

    # --- the process

    @property
    def _code(self) -> Path:
        return Path(self._config.code.get_unzipped_code_location())

    def _init(self, gate_deadline: float, limit_seconds: float) -> "_ColdStart":
        """Start a process and wait until it asks for work; one that takes longer than the limit is ended.

        Raises TimeoutError when so many handlers start at once that this one's turn does not come.
        """
        assert self._workspace is not None, "start() comes first"
        self._end_process()
        with start_gate(gate_deadline):
            started = time.monotonic()
            process = HandlerProcess(_python(), self._config.handler, self._code, self._workspace, self._environment)
            self._process = process
            event = process.next_event(started + limit_seconds)
        if event is None:
            self._end_process()
        elif event == Ready():
            self._log_before += process.take_output()  # AWS shows what a module prints on import before START
        return _ColdStart(event, (time.monotonic() - started) * 1000)

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            self._log_before += process.take_output()
            process.close()

    def _discard(self) -> None:
        self._end_process()
        if self._workspace is not None:
            shutil.rmtree(self._workspace, ignore_errors=True)


@dataclass(frozen=True)
class _ColdStart:
    event: Event | None  # None when it took too long
    duration_ms: float


def _init_failure(event: Event | None, request_id: str) -> Outcome | None:
    match event:
        case InitError(payload=body):
            return outcomes.init_failed(body)
        case Exited(returncode=returncode):
            return outcomes.crashed(request_id, returncode)
        case _:
            return None


def _python() -> str:
    return os.environ.get(PYTHON_VARIABLE) or sys.executable


def _invocation(payload: Mapping[str, str], deadline: float) -> Invocation:
    """`deadline` is Unix time in seconds."""
    return Invocation(
        request_id=payload["invoke-id"],
        payload=payload["payload"].encode(),
        function_arn=payload["invoked-function-arn"],
        trace_id=payload["trace-id"],
        deadline_ms=int(deadline * 1000),
    )
