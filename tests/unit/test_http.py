"""Headers of every answer: what is always there, and what a page of another origin gets to see."""

from __future__ import annotations

from typing import Any

import pytest

from lambdas.common.http import HEADERS, Cors, HttpError, error_response, json_response
from lambdas.common.settings import Environment
from lambdas.query_tasks.handler import METHODS
from tests.support.templates import template

APP, OTHER = "https://app.example.com", "https://evil.example.com"
RESPONSE = json_response(200, {"a": 1})
CORS = Cors((APP, "http://localhost:3000"))


def asked(origin: str | None, name: str = "Origin") -> dict[str, Any]:
    return {"headers": {} if origin is None else {name: origin}}


def cors_headers(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("Access-Control-") or name == "Vary"}


@pytest.mark.parametrize("response", [RESPONSE, error_response(HttpError(404, "not_found", "No."))])
def test_every_answer_forbids_to_keep_it_to_guess_its_type_and_to_come_back_without_tls(response: Any) -> None:
    expected = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Strict-Transport-Security": "max-age=31536000",
    }
    assert response["headers"] == expected


def test_what_api_gateway_answers_by_itself_carries_the_same_headers() -> None:
    answers = template("app")["Resources"]["TaskApi"]["Properties"]["GatewayResponses"]
    own = {name: f"'{value}'" for name, value in HEADERS.items() if name != "Content-Type"}
    assert {name: answer["ResponseParameters"]["Headers"] for name, answer in answers.items()} == dict.fromkeys(
        answers, own
    )


@pytest.mark.parametrize("origin", [None, APP, OTHER])
def test_without_origins_no_answer_has_a_cors_header(origin: str | None) -> None:
    assert cors_headers(Cors(()).answer(asked(origin), RESPONSE)["headers"]) == {}
    assert Cors(()).preflight(asked(origin), "GET") is None


@pytest.mark.parametrize("name", ["Origin", "origin"])
def test_a_listed_origin_may_read_the_answer_and_no_other(name: str) -> None:
    allowed = CORS.answer(asked(APP, name), RESPONSE)
    assert cors_headers(allowed["headers"]) == {"Access-Control-Allow-Origin": APP, "Vary": "Origin"}
    assert (allowed["statusCode"], allowed["body"]) == (RESPONSE["statusCode"], RESPONSE["body"])


def test_an_origin_that_is_not_listed_to_the_letter_may_not() -> None:
    for origin in (
        None,
        OTHER,
        "null",
        "*",
        "",
        f"{APP}.evil.com",
        APP.upper(),
        f"{APP}:8443",
        "http://app.example.com",
    ):
        assert cors_headers(CORS.answer(asked(origin), RESPONSE)["headers"]) == {"Vary": "Origin"}, origin
        assert CORS.preflight(asked(origin), "GET") is None, origin


def test_an_event_without_headers_is_of_no_page() -> None:
    assert cors_headers(CORS.answer({"headers": None}, RESPONSE)["headers"]) == {"Vary": "Origin"}


def test_the_question_before_a_request_is_answered_with_what_the_path_takes() -> None:
    answer = CORS.preflight(asked(APP), "GET, DELETE")
    assert answer is not None
    assert (answer["statusCode"], answer["body"]) == (204, "")
    said = {name: answer["headers"][name] for name in cors_headers(answer["headers"])}
    assert said == {
        "Access-Control-Allow-Methods": "GET, DELETE",
        "Access-Control-Allow-Headers": "content-type, x-api-key",
        "Access-Control-Max-Age": "600",
    }


def test_origins_are_joined_by_commas_and_there_may_be_none() -> None:
    read = [Environment({"X": text}).words("X") for text in ("", " ", APP, f"{APP}, {OTHER} ,")]
    assert read == [(), (), (APP,), (APP, OTHER)]
    assert Environment({}).words("X") == ()


def test_each_path_takes_the_question_without_a_key_and_with_a_limit_of_its_own() -> None:
    resources = template("app")["Resources"]
    events = [event["Properties"] for event in resources["QueryTasks"]["Properties"]["Events"].values()]
    open_to_all = {(event["Path"], event["Method"]) for event in events if "Auth" in event}
    expected = {(path, "OPTIONS") for path in METHODS if path != "/"} | {("/", "GET"), ("/openapi.json", "GET")}
    assert open_to_all == expected
    limits = resources["TaskApi"]["Properties"]["MethodSettings"]
    limited = {(one["ResourcePath"].replace("~1", "/")[1:] or "/", one["HttpMethod"]) for one in limits}
    assert limited == expected
    assert all(one["ThrottlingRateLimit"] <= 50 for one in limits)
