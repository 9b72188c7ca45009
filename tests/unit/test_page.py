"""The dashboard's page: all in one answer, and nothing allowed but what is in it."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest

from bootstrap.errors import BootstrapError
from lambdas.common.http import HEADERS
from lambdas.query_tasks.handler import handle
from lambdas.query_tasks.page import FOLDER, assemble, page
from scripts import dashboard
from scripts.dashboard import address, has_display
from tests.support.templates import template

HTML = '<link rel="stylesheet" href="a.css"><p>hello</p><script src="b.js"></script>'
FILES = {"a.css": "p { margin: 0 }", "b.js": "start();", "c.js": "never named"}


def asked(tag: str | None = None, name: str = "If-None-Match") -> dict[str, Any]:
    return {"resource": "/", "httpMethod": "GET", "headers": None if tag is None else {name: tag}}


def hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def rules(policy: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for words in (rule.split() for rule in policy.split(";"))}


def test_the_page_is_served_to_anybody_with_the_headers_of_every_answer() -> None:
    answer = handle(asked(), None)
    assert answer["statusCode"] == 200
    assert answer["body"].startswith("<!doctype html>")
    assert answer["headers"]["Content-Type"] == "text/html; charset=utf-8"
    kept = {name for name, value in HEADERS.items() if answer["headers"][name] == value}
    assert kept == set(HEADERS) - {"Content-Type", "Cache-Control"}


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}'])
@pytest.mark.parametrize("name", ["If-None-Match", "if-none-match"])
def test_a_browser_that_has_it_is_told_so(form: str, name: str) -> None:
    tag = page().headers["ETag"]
    answer = page().answer(asked(form.format(tag), name))
    assert (answer["statusCode"], answer["body"], answer["headers"]["ETag"]) == (304, "", tag)


@pytest.mark.parametrize("tag", [None, "", '"other"'])
def test_a_browser_with_another_one_gets_this_one(tag: str | None) -> None:
    assert page().answer(asked(tag))["statusCode"] == 200


def test_the_tag_changes_with_any_of_the_files() -> None:
    tags = {assemble(HTML, {**FILES, name: "changed"}).headers["ETag"] for name in FILES}
    assert len(tags) == 3  # c.js is not in it, so one of these is the tag of the page as it is
    assert assemble(HTML, FILES).headers["ETag"] in tags


def test_the_files_that_it_names_travel_inside_and_their_hashes_are_allowed() -> None:
    made = assemble(HTML, FILES)
    assert made.body == "<style>p { margin: 0 }</style><p>hello</p><script>start();</script>"
    allowed = rules(made.headers["Content-Security-Policy"])
    assert (allowed["style-src"], allowed["script-src"]) == ([hashed(FILES["a.css"])], [hashed(FILES["b.js"])])


def test_each_file_of_the_folder_is_in_it_and_what_is_in_it_is_allowed() -> None:
    made = page()
    texts = {path.name: path.read_text() for path in FOLDER.iterdir() if path.suffix in (".css", ".js")}
    assert texts
    assert [name for name, text in texts.items() if text not in made.body] == []
    allowed = rules(made.headers["Content-Security-Policy"])
    inside = {element: re.findall(rf"<{element}>(.*?)</{element}>", made.body, re.S) for element in ("style", "script")}
    assert allowed["style-src"] == list(map(hashed, inside["style"]))
    assert allowed["script-src"] == list(map(hashed, inside["script"]))


def test_nothing_comes_from_elsewhere_and_nothing_goes_there() -> None:
    allowed = rules(page().headers["Content-Security-Policy"])
    where = {name: values for name, values in allowed.items() if "trusted-types" not in name}
    sources = {source for values in where.values() for source in values if not source.startswith("'sha256-")}
    assert sources == {"'none'", "'self'", "data:"}
    assert allowed["default-src"] == allowed["form-action"] == allowed["frame-ancestors"] == ["'none'"]
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page().body) == []


def test_a_script_that_would_make_markup_of_text_is_stopped_by_the_browser() -> None:
    allowed = rules(page().headers["Content-Security-Policy"])
    assert allowed["require-trusted-types-for"] == ["'script'"]
    assert allowed["trusted-types"] == ["'none'"]


def test_the_page_is_long_enough_to_be_compressed_by_the_api() -> None:
    least = template("app")["Resources"]["TaskApi"]["Properties"]["MinimumCompressionSize"]
    assert 0 < least < len(page().body.encode())


def test_its_scripts_make_no_markup_of_data_and_keep_no_key() -> None:
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "localStorage",
    ):
        assert way not in page().body, way


def test_it_has_no_handlers_or_styles_in_attributes_which_its_policy_forbids() -> None:
    html = (FOLDER / "index.html").read_text()
    assert re.findall(r'\s(?:style|on[a-z]+)="', html) == []


def test_make_dashboard_hands_the_key_over_where_no_server_sees_it() -> None:
    assert address({"base_url": "http://x/dev", "api_key": "k"}) == "http://x/dev/#key=k"


@pytest.mark.parametrize(
    ("environ", "platform", "shown"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "darwin", True),
    ],
)
def test_a_browser_is_opened_only_where_there_is_a_display(environ: dict[str, str], platform: str, shown: bool) -> None:
    assert has_display(environ, platform) is shown


def test_with_target_aws_no_local_stack_is_opened_whatever_is_wrong_with_the_account(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def local() -> dict[str, str]:
        raise AssertionError("the local stack was looked for")

    def refused() -> dict[str, str]:
        raise BootstrapError("AWS does not know these credentials.", "aws sso login")

    monkeypatch.setattr(dashboard, "running_outputs", local)
    monkeypatch.setattr(dashboard, "outputs_of_account", refused)
    assert dashboard.main(["--target", "aws"]) == 1
    assert "AWS does not know these credentials" in capsys.readouterr().err
