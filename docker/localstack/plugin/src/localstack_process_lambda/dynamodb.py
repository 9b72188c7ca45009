"""DynamoDB, and its streams, by moto: in this process, in memory, with nothing to download."""

import threading

from localstack.aws.api import RequestContext, ServiceRequest
from localstack.aws.skeleton import DispatchTable
from localstack.aws.spec import load_service
from localstack.http import Response
from localstack.services.moto import dispatch_to_moto
from localstack.services.plugins import Service

# moto is written for one thread. DynamoDB promises that a conditional write sees no half of another one, so calls of
# both services, which share the tables, go one at a time; each takes about a millisecond.
_ONE_CALL_AT_A_TIME = threading.RLock()


class MotoProvider:
    def __init__(self, service_name: str) -> None:
        self.service = service_name


def service(service_name: str) -> Service:
    return Service.for_provider(MotoProvider(service_name), dispatch_table_factory=_dispatch_table)


def _dispatch_table(provider: MotoProvider) -> DispatchTable:
    return dict.fromkeys(load_service(provider.service).operation_names, _call)


def _call(context: RequestContext, _request: ServiceRequest) -> Response:
    """moto's response as it is: parsed by LocalStack, an error would lose its `Item` and `CancellationReasons`."""
    with _ONE_CALL_AT_A_TIME:
        return dispatch_to_moto(context)
