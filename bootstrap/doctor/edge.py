"""Probes of the edge of the system: API Gateway. With CloudFormation, EventBridge and CloudWatch in files beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
from botocore.exceptions import ClientError

from bootstrap.doctor.formation import JSON, STAGE, sam_api
from bootstrap.doctor.lab import Lab, ProbeTimeout
from bootstrap.doctor.probe import Finding, Hook, Probe, as_aws, differs

GUIDE = "https://docs.aws.amazon.com/apigateway/latest/developerguide"
LAMBDA_ERRORS = "https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway-errors.html"
GATEWAY_RESPONSES = f"{GUIDE}/supported-gateway-response-types.html"
UNSEEN = "words that no caller may see"
TELL = f"def tell(event, context):\n    return {{'statusCode': 502, 'body': {UNSEEN!r}}}\n"
CRASHING = f"def handle(event, context):\n    raise RuntimeError({UNSEEN!r})\n{TELL}"
LATE = f"""
import time

def handle(event, context):
    time.sleep(3)
    return {{"statusCode": 200, "body": "late"}}

{TELL}"""
SETTLING_SECONDS = 5
"""A change of an API may take a moment until it is served."""
NO_ROUTE = '{"error": {"code": "not_found"}}'
NO_KEY = '{"error": {"code": "forbidden"}}'


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str


def ask(url: str, key: str | None = None) -> Answer:
    answer = requests.get(url, headers={"x-api-key": key} if key else {}, timeout=40)
    return Answer(answer.status_code, answer.text)


@dataclass(frozen=True, slots=True)
class Api:
    """A REST API of a probe, made call by call."""

    lab: Lab
    id: str
    root: str

    def resource(self, path: str) -> str:
        made = self.lab.aws("apigateway").create_resource(restApiId=self.id, parentId=self.root, pathPart=path)
        return str(made["id"])

    def fixed(self, path: str, body: str, key_required: bool = False) -> str:
        """A route that answers `body` without a backend; the id of its resource."""
        gateway, resource = self.lab.aws("apigateway"), self.resource(path)
        at: Any = {"restApiId": self.id, "resourceId": resource, "httpMethod": "GET"}
        gateway.put_method(**at, authorizationType="NONE", apiKeyRequired=key_required)
        gateway.put_method_response(**at, statusCode="200")
        gateway.put_integration(**at, type="MOCK", requestTemplates={JSON: '{"statusCode": 200}'})
        self.answers(resource, body)
        return resource

    def answers(self, resource: str, body: str) -> None:
        self.lab.aws("apigateway").put_integration_response(
            restApiId=self.id,
            resourceId=resource,
            httpMethod="GET",
            statusCode="200",
            responseTemplates={JSON: body},
        )

    def proxy(self, path: str, function: str, **options: Any) -> None:
        """A route that a function answers."""
        gateway, lambda_, resource = self.lab.aws("apigateway"), self.lab.aws("lambda"), self.resource(path)
        at: Any = {"restApiId": self.id, "resourceId": resource, "httpMethod": "GET"}
        arn = lambda_.get_function_configuration(FunctionName=function)["FunctionArn"]
        region = self.lab.place.region
        gateway.put_method(**at, authorizationType="NONE")
        gateway.put_integration(
            **at,
            type="AWS_PROXY",
            integrationHttpMethod="POST",
            uri=f"arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations",
            **options,
        )
        lambda_.add_permission(
            FunctionName=function,
            StatementId="api",
            Action="lambda:InvokeFunction",
            Principal="apigateway.amazonaws.com",
        )

    def deploy(self) -> str:
        """URL of the deployed API."""
        self.lab.aws("apigateway").create_deployment(restApiId=self.id, stageName=STAGE)
        return self.lab.place.base_url(self.id, STAGE)

    def key(self, **throttle: float) -> str:
        """An API key under a usage plan of its own; its value. To be asked for after the deployment."""
        gateway, name = self.lab.aws("apigateway"), self.lab.name("key")
        made = gateway.create_api_key(name=name, enabled=True)
        self.lab.afterwards(lambda: gateway.delete_api_key(apiKey=made["id"]))
        limits = {"throttle": throttle} if throttle else {}
        plan = gateway.create_usage_plan(name=name, apiStages=[{"apiId": self.id, "stage": STAGE}], **limits)["id"]
        self.lab.afterwards(lambda: gateway.delete_usage_plan(usagePlanId=plan))
        gateway.create_usage_plan_key(usagePlanId=plan, keyId=made["id"], keyType="API_KEY")
        self.lab.afterwards(lambda: gateway.delete_usage_plan_key(usagePlanId=plan, keyId=made["id"]))
        value = made.get("value") or gateway.get_api_key(apiKey=made["id"], includeValue=True)["value"]
        return str(value)


def api(lab: Lab) -> Api:
    gateway = lab.aws("apigateway")
    made = gateway.create_rest_api(name=lab.name("api"))["id"]
    lab.afterwards(lambda: gateway.delete_rest_api(restApiId=made))
    root = next(item["id"] for item in gateway.get_resources(restApiId=made)["items"] if item["path"] == "/")
    return Api(lab, made, root)


def _served(lab: Lab, url: str, key: str | None = None) -> Answer:
    """The answer once it is a good one, or the last bad one."""
    try:
        return lab.until(lambda: ask(url, key), lambda answer: answer.status == 200, SETTLING_SECONDS)
    except ProbeTimeout:
        return ask(url, key)


def _api_key(lab: Lab) -> Finding:
    made = api(lab)
    made.fixed("tasks", "{}", key_required=True)
    url, key = f"{made.deploy()}/tasks", made.key()
    right = _served(lab, url, key).status
    none, wrong = ask(url).status, ask(url, "a-wrong-key-of-20-signs").status
    seen = f"right key {right}, no key {none}, wrong key {wrong}"
    return as_aws(seen) if (right, none, wrong) == (200, 403, 403) else differs(seen)


def _no_key_required(params: dict[str, Any], **_: Any) -> None:
    params["apiKeyRequired"] = False


def _throttle(lab: Lab) -> Finding:
    made = api(lab)
    made.fixed("tasks", "{}", key_required=True)
    url, key = f"{made.deploy()}/tasks", made.key(rateLimit=1, burstLimit=2)
    _served(lab, url, key)
    statuses = [ask(url, key).status for _ in range(20)]
    seen = f"20 requests at once, 1/s allowed: {statuses.count(429)} answered 429"
    return as_aws(seen) if statuses.count(429) > 10 else differs(seen)


def _unlimited(params: dict[str, Any], **_: Any) -> None:
    params["throttle"] = {"rateLimit": 10_000, "burstLimit": 5_000}


def _crash(lab: Lab) -> Finding:
    made = api(lab)
    made.proxy("tasks", lab.function(CRASHING))
    url = f"{made.deploy()}/tasks"
    return _judged(ask(url), {502})


def _function_timeout(lab: Lab) -> Finding:
    made = api(lab)
    made.proxy("tasks", lab.function(LATE, timeout=1))
    return _judged(ask(f"{made.deploy()}/tasks"), {502, 504})


def _integration_timeout(lab: Lab) -> Finding:
    made = api(lab)
    made.proxy("tasks", lab.function(LATE), timeoutInMillis=1000)
    return _judged(ask(f"{made.deploy()}/tasks"), {504})


def _judged(answer: Answer, wanted: set[int]) -> Finding:
    told = [word for word in (UNSEEN, "RuntimeError", "Task timed out", "errorMessage") if word in answer.body]
    seen = f"{answer.status}, body {answer.body[:60]!r}"
    return differs(seen) if told or answer.status not in wanted else as_aws(seen)


def _telling(params: dict[str, Any], **_: Any) -> None:
    """The function answers as a gateway would that passes errors on."""
    params["Handler"] = "probe.tell"


def _patient(params: dict[str, Any], **_: Any) -> None:
    params["timeoutInMillis"] = 29_000


def _undeployed(lab: Lab) -> Finding:
    made = api(lab)
    resource = made.fixed("tasks", '"old"')
    url = f"{made.deploy()}/tasks"
    _served(lab, url)
    made.answers(resource, '"new"')
    before = ask(url).body.strip().strip('"')
    made.deploy()
    after = lab.until(lambda: ask(url).body.strip().strip('"'), lambda body: body == "new", SETTLING_SECONDS)
    seen = f"before the deployment {before!r}, after it {after!r}"
    return as_aws(seen) if (before, after) == ("old", "new") else differs(seen)


def _always_new(params: dict[str, Any], **_: Any) -> None:
    params["responseTemplates"] = {JSON: '"new"'}


def _url_of(lab: Lab, stack: str) -> str:
    return lab.place.base_url(_api_id(lab, stack), STAGE)


def _api_id(lab: Lab, stack: str) -> str:
    found = lab.aws("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return str(found["Outputs"][0]["OutputValue"])


def _gateway_responses(lab: Lab) -> Finding:
    responses = {
        "MISSING_AUTHENTICATION_TOKEN": {"StatusCode": 404, "ResponseTemplates": {JSON: NO_ROUTE}},
        "INVALID_API_KEY": {"StatusCode": 403, "ResponseTemplates": {JSON: NO_KEY}},
    }
    template = sam_api({"/tasks": "get"}, Auth={"ApiKeyRequired": True}, GatewayResponses=responses)
    stack, status = lab.stack(template)
    if status != "CREATE_COMPLETE":
        return differs(f"the stack ended as {status}")
    url = _url_of(lab, stack)
    no_route, no_key = ask(f"{url}/nowhere"), ask(f"{url}/tasks")
    seen = f"no route: {no_route.status} {no_route.body[:40]!r}; no key: {no_key.status} {no_key.body[:40]!r}"
    return as_aws(seen) if (no_route, no_key) == (Answer(404, NO_ROUTE), Answer(403, NO_KEY)) else differs(seen)


def _any_method(lab: Lab) -> Finding:
    stack, status = lab.stack(sam_api({"/{proxy+}": "x-amazon-apigateway-any-method"}))
    if status != "CREATE_COMPLETE":
        return differs(f"the stack ended as {status}")
    answer = _served(lab, f"{_url_of(lab, stack)}/some/where")
    seen = f"GET /some/where: {answer.status}"
    return as_aws(seen) if answer.status == 200 else differs(f"{seen} {answer.body[:40]!r}")


def _changed_in_place(lab: Lab) -> Finding:
    cloudformation = lab.aws("cloudformation")
    stack, status = lab.stack(sam_api({"/one": "get"}))
    if status != "CREATE_COMPLETE":
        return differs(f"the stack ended as {status}")
    url = _url_of(lab, stack)
    api_id = _api_id(lab, stack)
    lab.afterwards(lambda: lab.aws("apigateway").delete_rest_api(restApiId=api_id))
    try:
        cloudformation.update_stack(
            StackName=stack,
            TemplateBody=json.dumps(sam_api({"/one": "get", "/two": "get"})),
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
    except ClientError as error:
        return differs(f"update refused: {error.response['Error']['Message'][:80]}")
    status = lab.stack_at_rest(stack)
    old, new = _served(lab, f"{url}/one").status, _served(lab, f"{url}/two").status
    seen = f"{status}; the old route answers {old}, the new one {new}"
    return as_aws(seen) if (status, old, new) == ("UPDATE_COMPLETE", 200, 200) else differs(seen)


def _other_template(change: Callable[[dict[str, Any]], object]) -> Hook:
    """A hook that changes the template on its way."""

    def hook(params: dict[str, Any], **_: Any) -> None:
        template = json.loads(params["TemplateBody"])
        change(template["Resources"]["Api"]["Properties"])
        params["TemplateBody"] = json.dumps(template)

    return hook


PROBES = (
    Probe(
        "api-key-required",
        "A method that requires an API key answers 403 without one or with a wrong one.",
        f"{GUIDE}/api-gateway-api-usage-plans.html",
        "Every route of TaskApi but the page. Where keys are not checked, a client without one works here and "
        "fails on AWS.",
        _api_key,
        {"before-parameter-build.apigateway.PutMethod": _no_key_required},
    ),
    Probe(
        "usage-plan-throttles",
        "Requests beyond the rate and burst of a key's usage plan are answered 429.",
        f"{GUIDE}/api-gateway-request-throttling.html",
        "UsagePlan (API_RATE_LIMIT), and the client, which backs off on 429. Where nothing is throttled, load "
        "tests say nothing about the limit.",
        _throttle,
        {"before-parameter-build.apigateway.CreateUsagePlan": _unlimited},
    ),
    Probe(
        "gateway-responses",
        "Gateway responses of the template decide status and body of what API Gateway answers by itself.",
        GATEWAY_RESPONSES,
        "GatewayResponses in app.yaml: 404 for a wrong path, our form of errors for a wrong key. Where they are "
        "ignored, "
        'such an answer is {"message": …}; the client takes both.',
        _gateway_responses,
        {
            "before-parameter-build.cloudformation.CreateStack": _other_template(
                lambda properties: properties.pop("GatewayResponses")
            )
        },
    ),
    Probe(
        "any-method-route",
        "A route /{proxy+} for any method serves every path and method that no other route serves.",
        f"{GUIDE}/api-gateway-set-up-simple-proxy.html",
        "What has no route is answered by QueryTasks. app.yaml names each method, because not every target takes "
        "`any`.",
        _any_method,
        {
            "before-parameter-build.cloudformation.CreateStack": _other_template(
                lambda properties: properties["DefinitionBody"].update(paths={})
            )
        },
    ),
    Probe(
        "lambda-crash-is-502",
        "When the function raises, the API answers 502 and tells nothing of the exception.",
        LAMBDA_ERRORS,
        "A bug in SubmitTask or QueryTasks. Where the text of the exception comes out, do not show a local "
        "answer to others; the client takes any 5xx as an unknown outcome.",
        _crash,
        {"before-parameter-build.lambda.CreateFunction": _telling},
    ),
    Probe(
        "lambda-timeout-is-5xx",
        "When the function times out, the API answers 502 or 504 and tells nothing of it.",
        LAMBDA_ERRORS,
        "SubmitTask's time-out of 15 s: the client repeats with the same id.",
        _function_timeout,
        {"before-parameter-build.lambda.CreateFunction": _telling},
    ),
    Probe(
        "integration-timeout-is-504",
        "When the function takes longer than the integration may (29 s by default), the API answers 504.",
        GATEWAY_RESPONSES,
        "SubmitTask's time-out lies below it. Where it is not enforced, a slow answer arrives here that AWS cuts off.",
        _integration_timeout,
        {"before-parameter-build.apigateway.PutIntegration": _patient},
    ),
    Probe(
        "undeployed-change-invisible",
        "A change of the API is served only after a deployment.",
        f"{GUIDE}/how-to-deploy-api.html",
        "SAM makes a deployment with each change of the API. Where changes show at once, a forgotten deployment "
        "goes unseen.",
        _undeployed,
        {"before-parameter-build.apigateway.PutIntegrationResponse": _always_new},
    ),
    Probe(
        "api-changed-in-place",
        "A route added to the API of a stack is served after the stack's update.",
        f"{GUIDE}/how-to-deploy-api.html",
        "`make up` after a change of the API. Where it is not served (changes_api_in_place in targets.py), up "
        "deletes the app stack and makes it anew; its data lie in the other stack.",
        _changed_in_place,
        {
            "before-parameter-build.cloudformation.UpdateStack": _other_template(
                lambda properties: properties["DefinitionBody"]["paths"].pop("/two")
            )
        },
    ),
)
