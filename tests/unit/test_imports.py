"""Arrows point one way: handler -> use case -> domain <- adapters; bootstrap, lambdas and client stand apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

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
    nodes = list(ast.walk(ast.parse(text)))
    typed = (node for node in nodes if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    skipped = {inner for node in typed for inner in node.body}
    for node in nodes:
        if node in skipped:
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


@cache
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


HANDLERS = {module for module in MODULES if is_handler(module)}
KINDS = {module for module in MODULES if module.startswith("lambdas.process_task.kinds")}
LAMBDAS = {module for module in MODULES if module.startswith("lambdas.")}
USE_CASES = {module for module in LAMBDAS - DOMAIN - ADAPTERS - KINDS - HANDLERS if MODULES[module].strip()}


def test_bootstrap_lambdas_and_client_do_not_import_one_another() -> None:
    strangers = {
        "bootstrap": {"lambdas", "client", "scripts", "tests"},
        "lambdas": {"bootstrap", "client", "scripts", "tests"},
        "client": {"bootstrap", "lambdas", "scripts", "tests", "boto3"},
    }
    for module in MODULES:
        assert roots(module) & strangers[module.split(".")[0]] == set(), module


def test_the_domain_imports_the_domain_and_nothing_that_acts_or_waits_or_chooses() -> None:
    for module in DOMAIN:
        allowed = {"random"} if module == f"{COMMON}.retry" else set()  # the type of an argument
        assert roots(module) & IMPURE <= allowed, module
        assert targets(module) & MODULES.keys() <= DOMAIN, module


def test_an_adapter_imports_the_domain_only() -> None:
    # All three speak to the table: the form of what they send, reads in batches, what errors mean.
    table = {f"{COMMON}.{name}" for name in ("store", "catalog", "minute_table")}
    more = {f"{COMMON}.{name}" for name in ("wire", "catalog", "refusals")}
    for module in ADAPTERS:
        allowed = DOMAIN | {COMMON} | (more if module in table else set())
        assert targets(module) & MODULES.keys() <= allowed, module


def test_a_use_case_knows_no_client_no_environment_and_no_clock() -> None:
    assert {f"{COMMON}.dead_letters", "lambdas.submit_task.submit", "lambdas.process_task.attempt"} <= USE_CASES
    for module in USE_CASES:
        assert roots(module) & {"boto3", "os", "time"} == set(), module
        assert f"{COMMON}.aws" not in targets(module), module
        for imported, name in imports_of(MODULES[module]):
            if imported in ADAPTERS:
                assert name in VALUES_OF_ADAPTERS.get(imported, set()), f"{module}: {name} of {imported}"


def test_a_function_imports_itself_what_is_common_and_the_kinds() -> None:
    for module in MODULES:
        assert targets(module) & HANDLERS == set(), module
    for module in LAMBDAS:
        others = {target for target in targets(module) if target.startswith("lambdas.")} - KINDS
        assert {target.split(".")[1] for target in others} <= {"common", module.split(".")[1]}, module


def test_there_are_at_most_six_functions_each_with_a_handler() -> None:
    folders = {module.split(".")[1] for module in LAMBDAS}
    assert len(HANDLERS) <= 6
    assert {handler.split(".")[1] for handler in HANDLERS} == folders - {"common"}


def test_imports_are_found_wherever_they_are() -> None:
    text = """
import os.path as p
from a.b import c, d as e
def f():
    import boto3
if TYPE_CHECKING:
    import hidden
if OTHER:
    import shown
"""
    assert set(imports_of(text)) == {("os.path", None), ("a.b", "c"), ("a.b", "d"), ("boto3", None), ("shown", None)}
