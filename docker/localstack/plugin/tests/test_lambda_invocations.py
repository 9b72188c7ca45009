import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Aws, wait_until, zipped

ECHO = """
    def handler(event, context):
        return event
"""
WHO_AM_I = """
    import os
    calls = 0
    def handler(event, context):
        global calls
        calls += 1
        return {"pid": os.getpid(), "calls": calls}
"""


def test_a_function_returns_what_its_handler_returns(aws: Aws) -> None:
    result = aws.invoke(aws.function(ECHO), {"text": "schön 😀", "number": 1.5, "nothing": None})
    assert result.error is None
    assert result.payload == {"text": "schön 😀", "number": 1.5, "nothing": None}


def test_a_warm_handler_keeps_its_process_and_its_globals(aws: Aws) -> None:
    name = aws.function(WHO_AM_I)
    first, second = aws.invoke(name).payload, aws.invoke(name).payload
    assert second == {"pid": first["pid"], "calls": 2}


def test_an_exception_is_the_functions_error_and_leaves_it_warm(aws: Aws) -> None:
    name = aws.function("""
        import os
        def handler(event, context):
            if event.get("fail"):
                raise ValueError("no such thing")
            return os.getpid()
    """)
    before = aws.invoke(name).payload
    failed = aws.invoke(name, {"fail": True})
    assert failed.error == "Unhandled"
    assert failed.payload["errorType"] == "ValueError"
    assert failed.payload["errorMessage"] == "no such thing"
    assert "raise ValueError" in failed.payload["stackTrace"][0]
    assert "[ERROR] ValueError: no such thing" in failed.log
    assert aws.invoke(name).payload == before


def test_a_time_out_is_answered_as_on_aws_and_the_next_invocation_is_cold(aws: Aws) -> None:
    name = aws.function(
        """
        import os, time
        def handler(event, context):
            print("started")
            time.sleep(event.get("sleep", 0))
            return os.getpid()
        """,
        Timeout=1,
    )
    before = aws.invoke(name).payload
    started = time.monotonic()
    result = aws.invoke(name, {"sleep": 30})
    assert time.monotonic() - started < 4
    assert result.error == "Unhandled"
    assert result.payload["errorType"] == "Sandbox.Timedout"
    assert result.payload["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")
    assert "started\n" in result.log
    assert re.search(r"Z \S+ Task timed out after 1\.00 seconds", result.log)
    assert re.search(r"REPORT .*Duration: 1000\.00 ms.*Status: timeout", result.log)
    assert aws.invoke(name).payload != before


def test_a_time_out_kills_what_the_handler_started(aws: Aws) -> None:
    name = aws.function(
        """
        import os, subprocess
        def handler(event, context):
            if "look_for" in event:
                return os.path.exists(f"/proc/{event['look_for']}/cmdline")
            child = subprocess.Popen(["sleep", "60"])
            print("child", child.pid)
            child.wait()
        """,
        Timeout=1,
    )
    child = re.search(r"child (\d+)", aws.invoke(name).log)
    assert child is not None
    wait_until(lambda: not aws.invoke(name, {"look_for": child[1]}).payload, 5, "the child to be gone")


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("os._exit(3)", "Runtime exited with error: exit status 3"),
        ("sys.exit(0)", "Runtime exited without providing a reason"),
        ("os.kill(os.getpid(), 9)", "Runtime exited with error: signal: killed"),
    ],
)
def test_a_crash_is_a_runtime_exit_error_and_the_next_invocation_works(aws: Aws, ending: str, message: str) -> None:
    name = aws.function(f"""
        import os, sys
        def handler(event, context):
            if event.get("crash"):
                print("about to end")
                {ending}
            return "fine"
    """)
    crashed = aws.invoke(name, {"crash": True})
    assert crashed.payload["errorType"] == "Runtime.ExitError"
    assert re.fullmatch(rf"RequestId: [0-9a-f-]+ Error: {message}", crashed.payload["errorMessage"])
    assert "about to end\n" in crashed.log
    assert "Runtime.ExitError" in crashed.log
    assert aws.invoke(name).payload == "fine"


@pytest.mark.parametrize(
    ("source", "error_type", "message"),
    [
        ("import nowhere", "Runtime.ImportModuleError", "Unable to import module 'index': No module named 'nowhere'"),
        ("def other(): ...", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'index'"),
        ("def handler(:", "Runtime.UserCodeSyntaxError", "Syntax error in module 'index'"),
        ("raise RuntimeError('TABLE_NAME is missing')", "RuntimeError", "TABLE_NAME is missing"),
    ],
)
def test_an_init_error_is_reported_and_logged_each_time(aws: Aws, source: str, error_type: str, message: str) -> None:
    name = aws.function(source)
    for _ in range(2):
        result = aws.invoke(name)
        assert result.error == "Unhandled"
        assert result.payload["errorType"] == error_type
        assert result.payload["errorMessage"].startswith(message)
        assert f"[ERROR] {error_type}: {message}" in result.log


def test_a_function_that_is_repaired_works_again(aws: Aws) -> None:
    name, client = aws.function("import nowhere"), aws.client("lambda")
    assert aws.invoke(name).error == "Unhandled"
    client.update_function_code(FunctionName=name, ZipFile=zipped(ECHO))
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert aws.invoke(name, {"repaired": True}).payload == {"repaired": True}


def test_an_invocation_under_way_survives_an_update_of_its_function(aws: Aws) -> None:
    name, client = aws.function(SLOW), aws.client("lambda")
    with ThreadPoolExecutor() as pool:
        under_way = pool.submit(aws.invoke, name, {"seconds": 2})
        wait_until(lambda: is_running(aws, name), 10, "the invocation to start")
        client.update_function_configuration(FunctionName=name, Environment={"Variables": {"NEW": "1"}})
    assert under_way.result().payload == "slept"


SLOW = """
    import time
    def handler(event, context):
        time.sleep(event.get("seconds", 1))
        return "slept"
"""


def is_running(aws: Aws, name: str) -> bool:
    """Whether the only invocation that is allowed at a time is under way: another one is then throttled."""
    client = aws.client("lambda")
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    try:
        client.invoke(FunctionName=name, Payload='{"seconds": 0}')
    except client.exceptions.TooManyRequestsException:
        return True
    return False


def test_the_log_has_start_output_end_and_report_in_order(aws: Aws) -> None:
    name = aws.function("""
        import logging, sys
        print("on import")
        def handler(event, context):
            print("to stdout")
            print("to stderr", file=sys.stderr)
            logging.getLogger().setLevel(logging.INFO)
            logging.info("by logging")
    """)
    log = aws.invoke(name).log
    pattern = (
        r"on import\nSTART RequestId: (\S+) Version: \$LATEST\nto stdout\nto stderr\n"
        r"\[INFO\]\t\S+\t\1\tby logging\nEND RequestId: \1\n"
        r"REPORT RequestId: \1\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t"
        r"Max Memory Used: [1-9]\d* MB\tInit Duration: [\d.]+ ms\t\n"
    )
    assert re.fullmatch(pattern, log)
    assert "Init Duration" not in aws.invoke(name).log


def test_the_log_reaches_cloudwatch(aws: Aws) -> None:
    name = aws.function("def handler(event, context): print('hello', event['who'])")
    aws.invoke(name, {"who": "world"})
    messages = wait_until(lambda: aws.messages_of(name), 10, "log events")
    assert messages[1] == "hello world"
    assert [message.split()[0] for message in messages] == ["START", "hello", "END", "REPORT"]


def test_a_megabyte_of_output_does_not_block_the_handler(aws: Aws) -> None:
    name = aws.function("""
        def handler(event, context):
            for _ in range(20_000):
                print("x" * 99)
            return "done"
    """)
    for _ in range(2):
        assert aws.invoke(name).payload == "done"


def test_the_handler_sees_the_environment_of_aws_and_nothing_of_the_server(aws: Aws) -> None:
    name = aws.function(
        "import os\ndef handler(event, context): return dict(os.environ)",
        Environment={"Variables": {"MINE": "1", "LOCALSTACK_MINE": "2"}},
        MemorySize=256,
    )
    seen = aws.invoke(name).payload
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == name
    assert seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert seen["AWS_LAMBDA_FUNCTION_VERSION"] == "$LATEST"
    assert seen["AWS_LAMBDA_LOG_GROUP_NAME"] == f"/aws/lambda/{name}"
    assert seen["AWS_REGION"] == seen["AWS_DEFAULT_REGION"] == "us-east-1"
    assert seen["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.13"
    assert seen["_HANDLER"] == "index.handler"
    assert seen["TZ"] == ":UTC"
    assert seen["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} <= seen.keys()
    assert {name for name in seen if "LOCALSTACK" in name} == {"LOCALSTACK_MINE"}
    assert not seen.keys() & {"PROVIDER_OVERRIDE_DYNAMODB", "DISABLE_EVENTS", "VIRTUAL_ENV", "EDGE_PORT"}


def test_the_handler_reaches_other_services_without_naming_an_endpoint(aws: Aws) -> None:
    queue = aws.queue()
    name = aws.function(
        """
        import boto3, os
        def handler(event, context):
            boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody="from the handler")
            return boto3.client("sts").get_caller_identity()["Arn"]
        """,
        Environment={"Variables": {"QUEUE_URL": queue.url}},
    )
    assert aws.invoke(name).payload.startswith("arn:aws:sts::000000000000:assumed-role/any/")
    assert [message["Body"] for message in queue.receive()] == ["from the handler"]


def test_the_context_knows_the_time_left(aws: Aws) -> None:
    name = aws.function(
        """
        def handler(event, context):
            return [context.get_remaining_time_in_millis(), context.invoked_function_arn, context.aws_request_id]
        """,
        Timeout=7,
    )
    remaining, arn, request_id = aws.invoke(name).payload
    assert 5_000 < remaining <= 7_000
    assert arn == f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert len(request_id) == 36


def test_four_invocations_run_at_once_in_four_processes(aws: Aws) -> None:
    name = aws.function("""
        import os, time
        def handler(event, context):
            time.sleep(2)
            return os.getpid()
    """)
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        pids = list(pool.map(lambda _: aws.invoke(name).payload, range(4)))
    assert len(set(pids)) == 4
    assert time.monotonic() - started < 7


def test_reserved_concurrency_throttles_what_exceeds_it(aws: Aws) -> None:
    name, client = aws.function(SLOW), aws.client("lambda")
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)

    def invoke(_: int) -> str:
        try:
            return str(aws.invoke(name).payload)
        except client.exceptions.TooManyRequestsException as throttled:
            return str(throttled.response["Reason"])

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(invoke, range(4)))
    assert answers == ["ReservedFunctionConcurrentInvocationLimitExceeded"] * 2 + ["slept"] * 2


def test_a_response_of_more_than_six_megabytes_is_refused(aws: Aws) -> None:
    name = aws.function("def handler(event, context): return 'x' * event.get('size', 1)")
    assert len(aws.invoke(name, {"size": 6_000_000}).payload) == 6_000_000
    assert aws.invoke(name, {"size": 6_400_000}).payload["errorType"] == "Function.ResponseSizeTooLarge"


def test_another_runtime_than_python_is_refused_with_a_reason(aws: Aws) -> None:
    client = aws.client("lambda")
    name = aws_function_without_waiting(aws)
    state = wait_until(
        lambda: found if (found := client.get_function_configuration(FunctionName=name))["State"] == "Failed" else None,
        10,
        "the function to be refused",
    )
    assert "only Python runs as a process" in state["StateReason"]


def aws_function_without_waiting(aws: Aws) -> str:
    response = aws.client("lambda").create_function(
        FunctionName=f"nodejs-{time.time_ns()}",
        Code={"ZipFile": zipped("exports.handler = async () => 1", "index.js")},
        Runtime="nodejs22.x",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="index.handler",
    )
    return str(response["FunctionName"])
