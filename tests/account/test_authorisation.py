"""What docs/security.md tells to put in front of the API, put in front of it: SAM's own translation of the template."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from bootstrap.paths import ROOT
from tests.support.sam import translated
from tests.support.templates import template

PAGE = (ROOT / "docs" / "security.md").read_text()
CHANGES = [yaml.safe_load(block) for block in re.findall(r"```yaml auth\n(.*?)```", PAGE, re.DOTALL)]
KEYLESS = {("get", "/"), ("get", "/openapi.json")}
"""They hold no data. What asks for more than the key asks it of these, too."""


def with_auth(auth: dict[str, Any]) -> dict[str, Any]:
    """The API as OpenAPI, with this for its `Auth`."""
    document = template("app")
    document["Resources"]["TaskApi"]["Properties"]["Auth"] = auth
    api: dict[str, Any] = translated(document)["TaskApi"]["Properties"]["Body"]
    return api


@pytest.mark.parametrize("auth", CHANGES, ids=[change["DefaultAuthorizer"] for change in CHANGES])
def test_a_change_that_the_page_gives_asks_for_more_than_the_key_on_every_method_but_options(
    auth: dict[str, Any],
) -> None:
    api = with_auth(auth)
    asked = {
        (method, path): {name for one in operation["security"] for name in one}
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    }
    for (method, path), names in asked.items():
        keyed = set() if (method, path) in KEYLESS else {"api_key"}
        assert names == (set() if method == "options" else keyed | {auth["DefaultAuthorizer"]}), f"{method} {path}"
    assert set(asked) >= KEYLESS
    assert {method for method, _ in asked} >= {"get", "post", "delete", "options"}
    assert auth["DefaultAuthorizer"] in api["securityDefinitions"]


def test_the_page_gives_one_change_for_iam_and_one_for_jwt() -> None:
    assert [change["DefaultAuthorizer"] for change in CHANGES] == ["AWS_IAM", "Users"]
