"""Web pages and the API: by default no page of another origin may read an answer, then only those that are listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
import requests

from tests.support import faulty
from tests.support.stack import DeployedStack

APP, OTHER = "https://app.example.com", "https://evil.example.com"
FUNCTIONS = ("SubmitTask", "QueryTasks", "SteerTasks")
REQUESTS = [
    ("POST", "/tasks"),
    ("GET", "/tasks/nobody"),
    ("GET", "/dead-letters"),
    ("DELETE", "/tasks/nobody"),
    ("POST", "/tasks/nobody/redrive"),
]
SECURITY = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Strict-Transport-Security": "max-age=31536000",
}


@pytest.fixture(scope="module")
def for_app(stack: DeployedStack) -> Iterator[DeployedStack]:
    """The stack, with pages of one origin allowed."""
    with ExitStack() as every:
        for function in FUNCTIONS:
            every.enter_context(faulty.configured(stack, function, Variables={"CORS_ORIGINS": APP}))
        yield stack


def ask(stack: DeployedStack, method: str, path: str, origin: str, **headers: str) -> requests.Response:
    url = stack.outputs["base_url"] + path
    return requests.request(method, url, headers={"Origin": origin, **headers}, timeout=60)


def with_key(stack: DeployedStack, method: str, path: str, origin: str) -> requests.Response:
    return ask(stack, method, path, origin, **{"x-api-key": stack.outputs["api_key"]})


def about_origins(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower().startswith("access-control-")}


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_no_page_of_another_origin_may_read_an_answer_unless_somebody_lists_it(
    stack: DeployedStack, method: str, path: str
) -> None:
    answer = with_key(stack, method, path, APP)
    assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
    assert about_origins(answer.headers) == {}
    question = ask(stack, "OPTIONS", path, APP)
    assert (question.status_code, question.json()["error"]["code"]) == (405, "method_not_allowed")
    assert about_origins(question.headers) == {}


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_a_page_of_a_listed_origin_may_ask_send_and_read_and_no_other(
    for_app: DeployedStack, method: str, path: str
) -> None:
    question = ask(for_app, "OPTIONS", path, APP)
    assert (question.status_code, question.content) == (204, b"")
    assert method in question.headers["Access-Control-Allow-Methods"]
    assert "x-api-key" in question.headers["Access-Control-Allow-Headers"]
    assert question.headers["Access-Control-Allow-Origin"] == APP
    answer = with_key(for_app, method, path, APP)
    assert about_origins(answer.headers) == {"Access-Control-Allow-Origin": APP}
    assert answer.headers["Vary"] == "Origin"

    assert ask(for_app, "OPTIONS", path, OTHER).status_code == 405
    assert about_origins(with_key(for_app, method, path, OTHER).headers) == {}


def test_asking_is_all_that_can_be_done_without_the_key(for_app: DeployedStack) -> None:
    assert {ask(for_app, method, path, APP).status_code for method, path in REQUESTS} == {403}
