"""The API's description: one text, served by the function, and the routes that the template deploys."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap import kinds, package
from bootstrap.description import payload, with_kinds
from bootstrap.kinds import Kind
from bootstrap.paths import ROOT
from lambdas.common.http import HEADERS
from lambdas.common.kinds import Registry, load
from lambdas.common.rows import DeadLetter
from lambdas.common.store import Found
from lambdas.common.task import TASK_ID, Status, TimelineEntry
from lambdas.process_task import kinds as kinds_package
from lambdas.process_task.kinds.simulated import ORDERS
from lambdas.query_tasks import dead_letters, handler, openapi, tasks
from lambdas.query_tasks.parameters import DEFAULT_LIMIT, MAX_KIND_CHARACTERS, MAX_LIMIT
from lambdas.query_tasks.stats import MOST
from lambdas.query_tasks.view import task_view
from lambdas.steer_tasks.batch import MAX_GENERATION, MAX_TASKS
from lambdas.submit_task.request import DEFAULT_KIND, FIELDS, MAX_BATCH_TASKS
from tests.support.tasks import NOW, a_task
from tests.support.templates import template

DESCRIPTION: Any = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
OPERATIONS = {
    (path, method.upper()): operation
    for path, operations in DESCRIPTION["paths"].items()
    for method, operation in operations.items()
}
REFUSING = "QueryTasks"
"""It also takes every method that a path does not have, to refuse it in the API's own words."""
KINDS = kinds.read(package.install_dependencies())
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


def test_every_operation_may_be_throttled_and_what_reads_or_writes_one_thing_may_be_unavailable() -> None:
    for route, operation in OPERATIONS.items():
        assert operation["responses"]["429"] == {"$ref": "#/components/responses/Throttled"}, route
    # A batch tells of each of its tasks by itself; the description and it alone asks nobody.
    without = {("/tasks/batch", "POST"), ("/dead-letters/redrive", "POST"), ("/openapi.json", "GET")}
    assert {route for route, operation in OPERATIONS.items() if "503" not in operation["responses"]} == without


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
    file.write_bytes(package.described(KINDS)[package.OPENAPI_JSON])
    monkeypatch.setattr(openapi, "FILE", file)
    openapi.description.cache_clear()
    yield file
    openapi.description.cache_clear()


def test_what_is_served_is_the_text_in_docs_with_the_kinds_of_this_deployment(built: Path) -> None:
    event = {"resource": "/openapi.json", "httpMethod": "GET", "pathParameters": None, "queryStringParameters": None}
    response = handler.handle(event, None)
    assert (response["statusCode"], response["headers"]) == (200, HEADERS)
    assert json.loads(response["body"]) == with_kinds(DESCRIPTION, KINDS)
    assert with_kinds(DESCRIPTION, []) == DESCRIPTION
    assert DESCRIPTION["openapi"].startswith("3.0.")


def test_the_file_that_the_build_writes_is_the_one_that_the_function_reads() -> None:
    assert openapi.FILE == ROOT / package.OPENAPI_JSON


@pytest.mark.parametrize("kinds", [[], KINDS], ids=["in docs", "as served"])
def test_every_reference_leads_somewhere_and_every_part_is_referred_to(kinds: list[Kind]) -> None:
    found = set(_references(with_kinds(DESCRIPTION, kinds)))
    parts = {
        f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in DESCRIPTION["components"][kind]
    }
    assert found == parts


def _references(document: Any) -> list[str]:
    if isinstance(document, dict):
        own = [document["$ref"]] if "$ref" in document else []
        return own + [one for value in document.values() for one in _references(value)]
    return [one for value in document for one in _references(value)] if isinstance(document, list) else []


def test_every_link_leads_to_an_operation_by_parameters_that_it_has() -> None:
    operations = {operation["operationId"]: operation for operation in OPERATIONS.values()}
    answers = [*DESCRIPTION["components"]["responses"].values()]
    answers += [answer for one in operations.values() for answer in one["responses"].values()]
    links = [link for answer in answers for link in answer.get("links", {}).values()]
    assert {link["operationId"] for link in links} == {"getTask", "cancelTask", "redriveTask"}
    for link in links:
        known = {parameter["name"] for parameter in operations[link["operationId"]]["parameters"]}
        assert set(link["parameters"]) <= known


def test_a_task_is_described_with_all_fields_that_it_is_shown_with_and_no_others() -> None:
    task = a_task(timeline=(TimelineEntry(NOW, "SUBMITTED", 1),))
    letter = DeadLetter("task-1", 1, "simulated", "Oops", 3, 4, "message-1", None, NOW, NOW + 1, 9)
    document, raw = task_view(Found(task, "{}", (letter,)))
    schema = DESCRIPTION["components"]["schemas"]["Task"]
    assert set(schema["properties"]) == set(schema["required"]) == {*document, *raw}
    for name, optional in (("timeline", {"error"}), ("deadLetters", set())):
        one = schema["properties"][name]["items"]
        assert set(one["properties"]) == {*one["required"], *optional} == {*document[name][0], *optional}
    assert not schema["additionalProperties"]


def test_limits_and_words_are_those_of_the_code() -> None:
    schemas = DESCRIPTION["components"]["schemas"]
    assert schemas["Status"]["enum"] == [str(status) for status in Status]
    assert schemas["TaskId"]["pattern"] == f"^{TASK_ID.pattern}$"
    assert schemas["Count"]["properties"]["count"]["maximum"] == MOST
    assert schemas["Replay"]["properties"]["generation"]["maximum"] == MAX_GENERATION
    assert tuple(schemas["Submission"]["properties"]) == tuple(FIELDS)
    kind = schemas["Submission"]["properties"]["kind"]
    assert (kind["maxLength"], kind["default"]) == (MAX_KIND_CHARACTERS, DEFAULT_KIND)
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


# Kinds. ---------------------------------------------------------------------------------------------------------------


def submissions(found: list[Kind]) -> dict[str, Any]:
    """Of each kind what a client may post, as served."""
    one_of = with_kinds(DESCRIPTION, found)["components"]["schemas"]["Submission"]["oneOf"]
    return {one["title"]: one for one in one_of}


def test_each_kind_that_is_deployed_can_be_submitted_by_the_description() -> None:
    served = submissions(KINDS)
    assert list(served) == sorted(kind.name for kind in KINDS) == registry().names()
    for name, one in served.items():
        assert one["properties"]["kind"]["enum"] == [name]
        # Only the default may be left out, so that a body is of one kind and no other.
        assert ("kind" in one["required"]) == (name != DEFAULT_KIND)
        assert tuple(one["properties"]) == tuple(FIELDS)
        assert not one["additionalProperties"]


def registry() -> Registry:
    loaded = load(kinds_package)
    # Other tests of this process may have registered kinds of their own.
    own = Registry()
    own._kinds = {name: kind for name, kind in loaded._kinds.items() if not kind.run.__module__.startswith("tests.")}
    return own


def test_a_new_kind_is_in_the_description_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_out = shutil.ignore_patterns("__pycache__")
    for folder in ("lambdas/common", "lambdas/process_task"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=left_out)
    (tmp_path / "lambdas/process_task/kinds/mail.py").write_text(
        "from lambdas.common.kinds import kind\n\n"
        'TO = {"enum": list({"ann", "bob", "cy"})}\n'
        'PAYLOAD = {"type": "object", "required": ["to"], "properties": {"to": TO}}\n\n'
        '@kind("mail", schema=PAYLOAD)\ndef send(work):\n    return None\n'
    )
    monkeypatch.setattr(kinds, "ROOT", tmp_path)
    texts = {package.described(kinds.read(package.install_dependencies()))[package.OPENAPI_JSON] for _ in range(3)}
    assert len(texts) == 1, "the same code makes the same text, or each build would be another package"
    schemas = json.loads(texts.pop())["components"]["schemas"]
    (mail,) = [one for one in schemas["Submission"]["oneOf"] if one["title"] == "mail"]
    assert mail["properties"]["kind"] == {"type": "string", "enum": ["mail"]}
    assert mail["properties"]["payload"]["required"] == ["to"]
    assert sorted(mail["properties"]["payload"]["properties"]["to"]["enum"]) == ["ann", "bob", "cy"]


TRANSLATED: dict[str, tuple[Any, Any]] = {
    "a number as an exclusive bound": (
        {"type": "number", "exclusiveMinimum": 0, "maximum": 20},
        {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 20},
    ),
    "of two bounds the narrower": (
        {"minimum": 1, "exclusiveMinimum": 0, "maximum": 3, "exclusiveMaximum": 3},
        {"minimum": 1, "maximum": 3, "exclusiveMaximum": True},
    ),
    "a constant": ({"const": 3}, {"enum": [3]}),
    "names without a type": ({"enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
    "a type or null": ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
    "two types": (
        {"type": ["string", "array"]},
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {}}]},
    ),
    "nothing but null": ({"type": "null"}, {"type": "string", "enum": [None], "nullable": True}),
    "an array of anything": ({"type": "array"}, {"type": "array", "items": {}}),
    "anything, nothing": ({"properties": {"a": True, "b": False}}, {"properties": {"a": {}, "b": {"not": {}}}}),
    "an empty list of what is required": ({"required": [], "$comment": "no"}, {}),
    "a definition": (
        {"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "string"}}},
        {"type": "string"},
    ),
    "two keywords that are one": (
        {"type": ["string", "boolean"], "anyOf": [{"const": 1}]},
        {"anyOf": [{"type": "string"}, {"type": "boolean"}], "allOf": [{"anyOf": [{"enum": [1]}]}]},
    ),
}
LEFT_OUT: dict[str, tuple[Any, Any]] = {
    "names by pattern": (
        {"patternProperties": {"^x": {"type": "string"}}, "additionalProperties": False},
        {"additionalProperties": {"type": "string"}},
    ),
    "names by pattern, and others": (
        {"patternProperties": {"^x": {"type": "string"}}},
        {"additionalProperties": {"anyOf": [{"type": "string"}, {}]}},
    ),
    "a tuple": ({"type": "array", "items": [{}, {}]}, {"type": "array", "items": {}}),
    "a condition": ({"if": {"minLength": 1}, "then": {"maxLength": 2}}, {}),
    "an expression that is Python's alone": ({"pattern": r"(?i:a)\Z"}, {}),
    "what would be narrower without its part": ({"not": {"contains": {"const": 1}}}, {}),
    "one of what is wider now": ({"oneOf": [{"contains": {"const": 1}}, {}]}, {"anyOf": [{}, {}]}),
    "a schema within itself": (
        {"properties": {"inner": {"$ref": "#"}}},
        {"properties": {"inner": {"properties": {"inner": {}}}}},
    ),
    "a schema elsewhere": ({"$ref": "https://example.com/a.json"}, {}),
}


def test_what_openapi_says_otherwise_is_said_otherwise() -> None:
    for schema, said in TRANSLATED.values():
        asked = {
            "type": "object",
            "properties": {"a": schema},
            **({"definitions": schema["definitions"]} if "definitions" in schema else {}),
        }
        assert payload(asked) == {"type": "object", "properties": {"a": said}}, schema


def test_what_openapi_cannot_say_is_left_out_and_the_whole_schema_told_beside() -> None:
    for schema, said in LEFT_OUT.values():
        assert payload(schema) == {"type": "object", **said, "x-json-schema": schema}, schema


def test_the_kinds_of_this_project_are_described_but_for_the_names_of_a_webhooks_headers() -> None:
    served = submissions(KINDS)
    payloads = {name: one["properties"]["payload"] for name, one in served.items()}
    assert "x-json-schema" in payloads["webhook"]
    assert "x-json-schema" not in payloads["simulated"]
    assert payloads["webhook"]["properties"]["method"] == {"type": "string", "enum": ["POST", "PUT", "PATCH"]}
    assert payloads["webhook"]["properties"]["headers"]["additionalProperties"]["maxLength"] == 1024
    assert payloads["simulated"]["properties"]["simulate"]["properties"].keys() == ORDERS["properties"].keys()  # type: ignore[attr-defined]  # a dict of dicts
