"""What the entry points name. Imports happen on load, since LocalStack resolves every plugin at start."""

from typing import TYPE_CHECKING, Any

from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin
from localstack.services.plugins import Service, aws_provider

if TYPE_CHECKING:
    from localstack_process_lambda.executor import ProcessRuntimeExecutor


class ProcessRuntimeExecutorPlugin(RuntimeExecutorPlugin):
    name = "process"

    def load(self, *_args: Any, **_kwargs: Any) -> "type[ProcessRuntimeExecutor]":
        from localstack_process_lambda.executor import ProcessRuntimeExecutor

        return ProcessRuntimeExecutor


@aws_provider(api="dynamodb", name="moto")
def dynamodb_by_moto() -> Service:
    from localstack_process_lambda import dynamodb, moto_fixes

    moto_fixes.apply()
    return dynamodb.service("dynamodb")


@aws_provider(api="dynamodbstreams", name="moto")
def dynamodbstreams_by_moto() -> Service:
    from localstack_process_lambda import dynamodb

    return dynamodb.service("dynamodbstreams")
