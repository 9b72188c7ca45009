"""The environment variables a handler sees: those of AWS, and nothing of the server it runs beside.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
"""

from collections.abc import Mapping
from pathlib import Path

# LocalStack passes these to the init binary of its Lambda containers; no handler on AWS has them.
_EMULATOR_ONLY = frozenset({"EDGE_PORT", "AWS_LAMBDA_FUNCTION_TIMEOUT"})
_EMULATOR_PREFIX = "LOCALSTACK_"


def build(
    from_localstack: Mapping[str, object],
    from_function: Mapping[str, str],
    runtime: str,
    code: Path,
    workspace: Path,
) -> dict[str, str]:
    """`from_localstack` holds the AWS_* variables, with credentials of the function's role and AWS_ENDPOINT_URL."""
    platform = {name: str(value) for name, value in from_localstack.items() if not _is_emulator_only(name)}
    if "AWS_LAMBDA_LOG_LEVEL" in platform:
        platform["AWS_LAMBDA_LOG_LEVEL"] = platform["AWS_LAMBDA_LOG_LEVEL"].upper()
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(workspace),
        "TMPDIR": str(workspace),
        **platform,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}",
        "LAMBDA_TASK_ROOT": str(code),
        **from_function,  # last, and whole: what a function sets is its own
    }


def _is_emulator_only(name: str) -> bool:
    return name in _EMULATOR_ONLY or name.startswith(_EMULATOR_PREFIX)
