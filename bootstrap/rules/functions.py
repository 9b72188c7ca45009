"""The functions themselves: what runs them, and what they are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from bootstrap.rules.rule import Finding, rule
from bootstrap.rules.system import System

RUNTIMES: Mapping[str, date] = {
    "python3.9": date(2025, 12, 15),
    "python3.10": date(2026, 10, 31),
    "python3.11": date(2027, 6, 30),
    "python3.12": date(2028, 10, 31),
    "python3.13": date(2029, 6, 30),
    "python3.14": date(2029, 6, 30),
}
"""Runtime -> when Lambda deprecates it, as listed in November 2026 (a test compares with cfn-lint's list)."""


@rule("Lambda: runtimes", "lambda/latest/dg/lambda-runtimes.html")
def runtime_is_supported(system: System) -> Iterator[Finding]:
    """Each function runs on a runtime that Lambda knows and still mends."""
    newest = max(RUNTIMES, key=lambda name: (RUNTIMES[name], int(name.rpartition(".")[2])))
    for function in system.functions.values():
        runtime = str(function.properties.get("Runtime"))
        if runtime not in RUNTIMES:
            yield Finding(function.name, f"the runtime {runtime} is not known here", f"Runtime: {newest}")
        elif RUNTIMES[runtime] <= system.today:
            yield Finding(function.name, f"{runtime} is deprecated since {RUNTIMES[runtime]}", f"Runtime: {newest}")


SET_BY_LAMBDA = frozenset({"AWS_LAMBDA_RUNTIME_API"})
"""The same page, "Defined runtime environment variables": reserved, no template may set one."""


@rule("Lambda: working with environment variables", "lambda/latest/dg/configuration-envvars.html")
def environment_is_what_is_read(system: System) -> Iterator[Finding]:
    """A function gets exactly the environment variables that its code reads."""
    for function in system.functions.values():
        given, read = set(function.variables), system.code.variables(function.folder) - SET_BY_LAMBDA
        for name in sorted(read - given):
            yield Finding(function.name, f"its code reads {name}, which is not set", f"{name} among its Variables")
        for name in sorted(given - read):
            yield Finding(
                function.name, f"{name} is set, and its code does not read it", f"no {name} among its Variables"
            )
