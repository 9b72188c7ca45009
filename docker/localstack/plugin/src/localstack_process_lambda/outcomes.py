"""What AWS Lambda answers and logs when an invocation does not end well, and the lines around every invocation."""

import json
import math
import signal
from dataclasses import dataclass
from datetime import UTC, datetime

MAX_RESPONSE_BYTES = 6 * 1024 * 1024 + 100


@dataclass(frozen=True)
class Outcome:
    payload: bytes
    is_error: bool
    log_line: str = ""  # what the platform itself adds to the function's output
    status: str = ""  # for the REPORT line; empty for one that AWS reports without a status


@dataclass(frozen=True)
class Report:
    request_id: str
    duration_ms: float
    init_ms: float | None  # None when the environment was warm
    memory_mb: int
    peak_memory_mb: int
    status: str


def succeeded(payload: bytes) -> Outcome:
    if len(payload) > MAX_RESPONSE_BYTES:
        return _failed(
            "Function.ResponseSizeTooLarge",
            f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES - 100} bytes).",
        )
    return Outcome(payload, is_error=False)


def raised(payload: bytes) -> Outcome:
    """The handler raised: the runtime has written the stack trace to the log and made the payload."""
    return Outcome(payload, is_error=True)


def timed_out(request_id: str, timeout_seconds: float) -> Outcome:
    message = f"Task timed out after {timeout_seconds:.2f} seconds"
    failed = _failed("Sandbox.Timedout", f"RequestId: {request_id} Error: {message}")
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Outcome(failed.payload, is_error=True, log_line=f"{now} {request_id} {message}\n\n", status="timeout")


def crashed(request_id: str, returncode: int) -> Outcome:
    message = f"RequestId: {request_id} Error: {_how_it_ended(returncode)}"
    failed = _failed("Runtime.ExitError", message)
    return Outcome(failed.payload, is_error=True, log_line=f"{message}\nRuntime.ExitError\n", status="error")


def init_failed(payload: bytes) -> Outcome:
    """The payload is the runtime's own, such as Runtime.ImportModuleError, or names what the import raised."""
    error_type = json.loads(payload).get("errorType", "")
    return Outcome(payload, is_error=True, status=f"error\tError Type: {error_type}")


def start_line(request_id: str, version: str) -> str:
    return f"START RequestId: {request_id} Version: {version}\n"


def end_lines(report: Report) -> str:
    fields = [
        f"REPORT RequestId: {report.request_id}",
        f"Duration: {report.duration_ms:.2f} ms",
        f"Billed Duration: {math.ceil(report.duration_ms + (report.init_ms or 0.0))} ms",
        f"Memory Size: {report.memory_mb} MB",
        f"Max Memory Used: {report.peak_memory_mb} MB",
    ]
    if report.init_ms is not None:
        fields.append(f"Init Duration: {report.init_ms:.2f} ms")
    if report.status:
        fields.append(f"Status: {report.status}")
    return f"END RequestId: {report.request_id}\n" + "\t".join(fields) + "\t\n"


def _failed(error_type: str, message: str) -> Outcome:
    payload = json.dumps({"errorType": error_type, "errorMessage": message}, separators=(",", ":"))
    return Outcome(payload.encode(), is_error=True, status="error")


def _how_it_ended(returncode: int) -> str:
    if returncode == 0:
        return "Runtime exited without providing a reason"
    if returncode < 0:
        # Go's names, since AWS prints what Go prints: "signal: killed", "signal: segmentation fault"
        return f"Runtime exited with error: signal: {(signal.strsignal(-returncode) or str(-returncode)).lower()}"
    return f"Runtime exited with error: exit status {returncode}"
