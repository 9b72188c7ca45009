"""Arrows point one way: handler -> use case -> domain <- adapters; bootstrap, lambdas and client stand apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.paths import ROOT

COMMON = "lambdas.common"
DOMAIN = {f"{COMMON}.{name}" for name in ("task", "decisions", "effects", "retry", "transitions", "rows", "minutes")}
ADAPTERS = {
    f"{COMMON}.{name}"
    for name in (
        "aws",
        "store",
        "catalog",
        "refusals",
        "wire",
        "queue",
        "http",
        "telemetry",
        "settings",
        "minute_table",
    )
}
IMPURE = {"boto3", "botocore", "os", "time", "datetime", "random", "uuid", "secrets", "threading", "logging"}
VALUES_OF_ADAPTERS = {
    f"{COMMON}.store": {"Found", "Page", "Refused", "message_of", "own_write"},
    f"{COMMON}.queue": {"MAX_DELAY_SECONDS"},
    f"{COMMON}.http": {"HEADERS", "HttpError", "Response", "iso"},
}
"""What a use case may know of an adapter: values, never a client."""


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports_of(text: str) -> Iterator[tuple[str, str | None]]:
    """(module, name) of everything that is imported, also inside functions, but not for the type checker alone."""
    skipped = {
        inner
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in map(ast.unparse, node.body)
    }
    for node in ast.walk(ast.parse(text)):
        if ast.unparse(node) in skipped if isinstance(node, ast.Import | ast.ImportFrom) else True:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.module or "", alias.name) for alias in node.names)


MODULES = {
    module_of(path): path.read_text()
    for folder in ("lambdas", "bootstrap", "client")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def targets(module: str) -> set[str]:
    """The modules that it imports; `from package import module` counts as the module."""
    found = set()
    for imported, name in imports_of(MODULES[module]):
        inner = f"{imported}.{name}"
        found.add(inner if inner in MODULES else imported)
    return found


def roots(module: str) -> set[str]:
    return {target.split(".")[0] for target in targets(module)}


def is_handler(module: str) -> bool:
    return module.startswith("lambdas.") and module.endswith(".handler")


HANDLERS = sorted(filter(is_handler, MODULES))
KINDS = {module for module in MODULES if module.startswith("lambdas.process_task.kinds")}
USE_CASES = sorted(
    module
    for module in MODULES
    if module.startswith("lambdas.")
    and module not in DOMAIN | ADAPTERS | KINDS
    and module not in HANDLERS
    and MODULES[module].strip()
)


@pytest.mark.parametrize(
    ("package", "strangers"),
    [
        ("bootstrap", {"lambdas", "client", "scripts", "tests"}),
        ("lambdas", {"bootstrap", "client", "scripts", "tests"}),
        ("client", {"bootstrap", "lambdas", "scripts", "tests", "boto3"}),
    ],
)
def test_bootstrap_lambdas_and_client_do_not_import_one_another(package: str, strangers: set[str]) -> None:
    own = [module for module in MODULES if module.split(".")[0] == package]
    assert own
    assert {module: roots(module) & strangers for module in own if roots(module) & strangers} == {}


@pytest.mark.parametrize("module", sorted(DOMAIN))
def test_the_domain_imports_the_domain_and_nothing_that_acts_or_waits_or_chooses(module: str) -> None:
    allowed = {"random"} if module == f"{COMMON}.retry" else set()  # the type of an argument
    assert roots(module) & IMPURE <= allowed
    assert {target for target in targets(module) if target in MODULES} <= DOMAIN


@pytest.mark.parametrize("module", sorted(ADAPTERS))
def test_an_adapter_imports_the_domain_only(module: str) -> None:
    # Both speak to the table: the form of what they send, reads in batches, what errors mean.
    table = {f"{COMMON}.{name}" for name in ("store", "catalog", "minute_table")}
    more = {f"{COMMON}.{name}" for name in ("wire", "catalog", "refusals")} if module in table else set()
    assert {target for target in targets(module) if target in MODULES} <= DOMAIN | {COMMON} | more


@pytest.mark.parametrize("module", USE_CASES)
def test_a_use_case_knows_no_client_no_environment_and_no_clock(module: str) -> None:
    assert roots(module) & {"boto3", "os", "time"} == set()
    assert f"{COMMON}.aws" not in targets(module)
    for imported, name in imports_of(MODULES[module]):
        if imported in ADAPTERS:
            assert name in VALUES_OF_ADAPTERS.get(imported, set()), f"{name} of {imported}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_imports_a_handler(module: str) -> None:
    assert not {target for target in targets(module) if is_handler(target)}


@pytest.mark.parametrize("module", sorted(module for module in MODULES if module.startswith("lambdas.")))
def test_a_function_imports_itself_what_is_common_and_the_kinds(module: str) -> None:
    function = module.split(".")[1] if "." in module else ""
    others = {target for target in targets(module) if target.startswith("lambdas.")} - KINDS
    assert {target.split(".")[1] for target in others} <= {"common", function}


def test_there_are_at_most_six_functions_each_with_a_handler() -> None:
    folders = {module.split(".")[1] for module in MODULES if module.count(".") >= 1 and module.startswith("lambdas.")}
    assert len(HANDLERS) <= 6
    assert {handler.split(".")[1] for handler in HANDLERS} == folders - {"common"}


def test_every_kind_of_module_was_found() -> None:
    assert len(HANDLERS) >= 5
    assert len(KINDS) >= 2
    assert {f"{COMMON}.dead_letters", "lambdas.submit_task.submit", "lambdas.process_task.attempt"} <= set(USE_CASES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import os", {("os", None)}),
        ("import os.path as p", {("os.path", None)}),
        ("from a.b import c, d as e", {("a.b", "c"), ("a.b", "d")}),
        ("def f():\n    import boto3", {("boto3", None)}),
        ("if TYPE_CHECKING:\n    import boto3", set()),
        ("if OTHER:\n    import boto3", {("boto3", None)}),
    ],
)
def test_imports_are_found_wherever_they_are(text: str, found: set[tuple[str, str | None]]) -> None:
    assert set(imports_of(text)) == found
