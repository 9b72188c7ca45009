import json
from pathlib import Path

from localstack_process_lambda import handler_environment, outcomes
from localstack_process_lambda.outcomes import Report


def test_a_warm_report_has_no_init_duration_and_bills_whole_milliseconds() -> None:
    report = Report("id", duration_ms=1.21, init_ms=None, memory_mb=128, peak_memory_mb=40, status="")
    assert outcomes.end_lines(report) == (
        "END RequestId: id\n"
        "REPORT RequestId: id\tDuration: 1.21 ms\tBilled Duration: 2 ms\t"
        "Memory Size: 128 MB\tMax Memory Used: 40 MB\t\n"
    )


def test_a_cold_report_bills_the_init_too() -> None:
    report = Report("id", duration_ms=1.5, init_ms=100.2, memory_mb=128, peak_memory_mb=40, status="")
    assert "Billed Duration: 102 ms" in outcomes.end_lines(report)
    assert "\tInit Duration: 100.20 ms\t\n" in outcomes.end_lines(report)


def test_a_signal_is_named_as_aws_names_it() -> None:
    message = json.loads(outcomes.crashed("id", -11).payload)["errorMessage"]
    assert message == "RequestId: id Error: Runtime exited with error: signal: segmentation fault"


def test_only_what_the_function_sets_may_look_like_the_emulator(tmp_path: Path) -> None:
    built = handler_environment.build(
        {"LOCALSTACK_HOSTNAME": "x", "EDGE_PORT": "1", "AWS_REGION": "eu-west-1", "AWS_LAMBDA_LOG_LEVEL": "Info"},
        {"EDGE_PORT": "mine"},
        "python3.13",
        tmp_path,
        tmp_path,
    )
    assert "LOCALSTACK_HOSTNAME" not in built
    assert (built["EDGE_PORT"], built["AWS_REGION"], built["AWS_LAMBDA_LOG_LEVEL"]) == ("mine", "eu-west-1", "INFO")
