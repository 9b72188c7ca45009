import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Aws, free_port, start_localstack, wait_until

from localstack_process_lambda import supervisor

IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
)


def supervised(*command: str, grace: str = "1") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "localstack_process_lambda", *command],
        env=os.environ | {supervisor.GRACE_VARIABLE: grace},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_stop_takes_no_longer_than_the_grace_even_if_the_signal_is_ignored() -> None:
    with supervised(sys.executable, "-c", IGNORES_SIGTERM) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        started = time.monotonic()
        process.terminate()
        assert process.wait(timeout=5) == 0
    assert 0.9 < time.monotonic() - started < 3


@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit(3)", 3), ("pass", 0)])
def test_the_exit_code_is_the_commands_own(code: str, expected: int) -> None:
    with supervised(sys.executable, "-c", code) as process:
        assert process.wait(timeout=10) == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_localstack_with_a_warm_function_stops_within_five_seconds(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    process = start_localstack(port, tmp_path / "localstack.log")
    aws = Aws(f"http://127.0.0.1:{port}")
    handler = aws.invoke(aws.function("import os\ndef handler(event, context): return os.getpid()")).payload
    started = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=10) == 0
    assert time.monotonic() - started < 5
    wait_until(lambda: not Path(f"/proc/{handler}").exists(), 5, "the handler's process to end")
