"""The API's description: one text, served by the function, and the routes that the template deploys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap import package
from bootstrap.paths import ROOT
from lambdas.common.http import HEADERS
from lambdas.common.task import TASK_ID, Status
from lambdas.query_tasks import dead_letters, handler, openapi, tasks
from lambdas.query_tasks.parameters import DEFAULT_LIMIT, MAX_KIND_CHARACTERS, MAX_LIMIT
from lambdas.query_tasks.stats import MOST
from lambdas.steer_tasks.batch import MAX_GENERATION, MAX_TASKS
from lambdas.submit_task.request import FIELDS, MAX_BATCH_TASKS
from tests.support.templates import template

DESCRIPTION: Any = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
OPERATIONS = {
    (path, method.upper()): operation
    for path, operations in DESCRIPTION["paths"].items()
    for method, operation in operations.items()
}
REFUSING = "QueryTasks"
"""It also takes every method that a path does not have, to refuse it in the API's own words."""
PAGE = ("/", "GET")
NOWHERE = "/{proxy+}"
"""Every path that there is not."""


def routes(function: str) -> dict[tuple[str, str], Any]:
    events = template("app")["Resources"][function]["Properties"].get("Events", {}).values()
    found = [event["Properties"] for event in events if event["Type"] == "Api"]
    return {(event["Path"], event["Method"]): event for event in found}


def test_every_route_that_does_something_is_described_and_nothing_else_is() -> None:
    served = {(path, method) for path, methods in handler.METHODS.items() for method in methods.split(", ")}
    assert set(OPERATIONS) == served - {PAGE}


def test_every_operation_is_deployed_and_every_deployed_route_is_described_or_refused() -> None:
    functions = [
        name for name, one in template("app")["Resources"].items() if one["Type"] == "AWS::Serverless::Function"
    ]
    deployed = {name: routes(name) for name in functions}
    doing = {route for name, found in deployed.items() for route in found if name != REFUSING}
    asking = {route for route in deployed[REFUSING] if route in OPERATIONS}
    assert doing | asking == set(OPERATIONS)
    assert not doing & set(deployed[REFUSING]), "one route, one function"
    others = {(path, method) for path, method in deployed[REFUSING] if path != NOWHERE} - asking - {PAGE}
    assert all(method not in handler.METHODS[path].split(", ") for path, method in others)
    assert {path for path, _ in others} == set(handler.METHODS) - {"/"}


def test_the_description_says_who_needs_a_key_as_the_template_does() -> None:
    for function in ("SubmitTask", "SteerTasks", "QueryTasks"):
        for route, event in routes(function).items():
            if route in OPERATIONS:
                needs = event.get("Auth", {}).get("ApiKeyRequired", True)
                assert OPERATIONS[route].get("security", DESCRIPTION["security"]) == ([{"apiKey": []}] if needs else [])
                assert ("403" in OPERATIONS[route]["responses"]) == needs


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The query function with its description beside it, as the build leaves it there."""
    file = tmp_path / "openapi.json"
    file.write_bytes(package._made(("lambdas/query_tasks",))[package.OPENAPI_JSON])
    monkeypatch.setattr(openapi, "FILE", file)
    openapi.description.cache_clear()
    yield file
    openapi.description.cache_clear()


def test_what_is_served_is_the_text_in_docs(built: Path) -> None:
    event = {"resource": "/openapi.json", "httpMethod": "GET", "pathParameters": None, "queryStringParameters": None}
    response = handler.handle(event, None)
    assert (response["statusCode"], response["headers"]) == (200, HEADERS)
    assert json.loads(response["body"]) == DESCRIPTION
    assert DESCRIPTION["openapi"].startswith("3.0.")


def test_the_file_that_the_build_writes_is_the_one_that_the_function_reads() -> None:
    assert openapi.FILE == ROOT / package.OPENAPI_JSON


def test_every_reference_leads_somewhere_and_every_part_is_referred_to() -> None:
    found = set(_references(DESCRIPTION))
    parts = {
        f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in DESCRIPTION["components"][kind]
    }
    assert found == parts


def _references(document: Any) -> list[str]:
    if isinstance(document, dict):
        own = [document["$ref"]] if "$ref" in document else []
        return own + [one for value in document.values() for one in _references(value)]
    return [one for value in document for one in _references(value)] if isinstance(document, list) else []


def test_limits_and_words_are_those_of_the_code() -> None:
    schemas = DESCRIPTION["components"]["schemas"]
    assert schemas["Status"]["enum"] == [str(status) for status in Status]
    assert schemas["TaskId"]["pattern"] == f"^{TASK_ID.pattern}$"
    assert schemas["Count"]["properties"]["count"]["maximum"] == MOST
    assert schemas["Replay"]["properties"]["generation"]["maximum"] == MAX_GENERATION
    assert tuple(schemas["Submission"]["properties"]) == tuple(FIELDS)
    for path, most in (("/tasks/batch", MAX_BATCH_TASKS), ("/dead-letters/redrive", MAX_TASKS)):
        body = OPERATIONS[path, "POST"]["requestBody"]["content"]["application/json"]["schema"]
        assert (body["properties"]["tasks"]["minItems"], body["properties"]["tasks"]["maxItems"]) == (1, most)


@pytest.mark.parametrize("path", ["/tasks", "/dead-letters"])
def test_the_parameters_of_a_list_are_those_that_it_takes(path: str) -> None:
    taken = {"/tasks": tasks.PARAMETERS, "/dead-letters": dead_letters.PARAMETERS}[path]
    described = {one["name"]: one["schema"] for one in OPERATIONS[path, "GET"]["parameters"]}
    assert tuple(described) == taken
    assert described["limit"] == {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    assert described["kind"]["maxLength"] == MAX_KIND_CHARACTERS
