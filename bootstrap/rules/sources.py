"""What the functions' code asks of its deployment, read from its syntax: bootstrap never imports lambdas."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

COMMON = "lambdas/common"
SETTINGS = f"{COMMON}/settings.py"
REQUEST = "lambdas/submit_task/request.py"


@dataclass(frozen=True)
class Code:
    """The functions' sources in `root`."""

    root: Path

    def variables(self, folder: str) -> Set[str]:
        """Environment variables that a function's own folder reads, and what it uses of the common code."""
        own, common = self._modules(folder)
        used = {name for module in own | common for name in module.uses}
        runs = [asked for module in own for asked in module.asked]
        runs += [a for module in common for a in module.asked if not a.inside or f"{module.name}.{a.inside}" in used]
        return {asked.variable for asked in runs if asked.reader in self._readers}

    @cached_property
    def _readers(self) -> Set[str]:
        """The methods of the settings' Environment (`env.text("STAGE")`, `env.integer("MAX_RETRIES", 0, 20)`, …)."""
        classes = [node for node in _tree(self.root / SETTINGS).body if isinstance(node, ast.ClassDef)]
        methods = [node.name for made in classes for node in made.body if isinstance(node, ast.FunctionDef)]
        return {"environ", "environ.get", "getenv", *(name for name in methods if not name.startswith("_"))}

    def _modules(self, folder: str) -> tuple[Set[Module], Set[Module]]:
        """Of the folder, and of the common code that they import, however far away."""
        own = {_module(path) for path in (self.root / folder).rglob("*.py")}
        common, waiting = set[Module](), {name for module in own for name in module.imports}
        while waiting:
            module = _module(self.root / COMMON / f"{waiting.pop()}.py")
            common.add(module)
            waiting |= module.imports - {known.name for known in common}
        return own, common

    def constant(self, file: str, name: str) -> int:
        """A number that a module of the functions gives a name to, such as `MAX_PAYLOAD_BYTES = 256 * 1024`."""
        return _constants(self.root / file)[name]

    @property
    def payload_bytes(self) -> int:
        return self.constant(REQUEST, "MAX_PAYLOAD_BYTES")

    @property
    def body_bytes(self) -> int:
        return self.constant(REQUEST, "MAX_BODY_BYTES")


@dataclass(frozen=True, slots=True)
class Asked:
    """`env.text("STAGE")`: reader `text`, variable `STAGE`; `os.environ["STAGE"]`: reader `environ`."""

    inside: str
    """The function or class of the module that it stands in; empty when it runs at import."""
    reader: str
    variable: str


@dataclass(frozen=True, eq=False)
class Module:
    name: str
    imports: set[str] = field(default_factory=set)
    """Modules of the common code."""
    uses: set[str] = field(default_factory=set)
    """`telemetry.metrics`, for each name of the common code that it mentions or imports, and each of its own."""
    asked: set[Asked] = field(default_factory=set)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def _module(path: Path) -> Module:
    module = Module(path.stem)
    for statement in _tree(path).body:
        inside = statement.name if isinstance(statement, ast.FunctionDef | ast.ClassDef) else ""
        for node in ast.walk(statement):
            _note(module, inside, node)
    return module


def _note(module: Module, inside: str, node: ast.AST) -> None:
    match node:
        case ast.ImportFrom(module=str(package)):
            for alias in node.names:
                parts = f"{package}.{alias.name}".split(".")
                if parts[:2] == ["lambdas", "common"]:
                    module.imports.add(parts[2])
                    module.uses.add(".".join(parts[2:]))
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            module.uses.add(f"{owner}.{name}")
        case ast.Name(id=name):
            module.uses.add(f"{module.name}.{name}")
        case ast.Call(func=called, args=[argument, *_]) | ast.Subscript(value=called, slice=argument):
            module.asked.update(Asked(inside, reader, variable) for reader, variable in _named(called, argument))


def _named(called: ast.expr, argument: ast.expr) -> Iterator[tuple[str, str]]:
    """What is asked, by the end of its name, for a variable by its name."""
    if isinstance(argument, ast.Constant) and re.fullmatch(r"[A-Z][A-Z0-9_]*", str(argument.value)):
        match called:
            case ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"):
                yield "environ.get", str(argument.value)
            case ast.Attribute(attr=name) | ast.Name(id=name):
                yield name, str(argument.value)


@cache
def _constants(path: Path) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for node in _tree(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            number = _number(node.value, found)
            if number is not None:
                found[node.targets[0].id] = number
    return found


def _number(node: ast.expr, known: Mapping[str, int]) -> int | None:
    """Of sums and products of whole numbers and of what was named before."""
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name):
            return known.get(name)
        case ast.BinOp(op=ast.Add() | ast.Mult()):
            left, right = _number(node.left, known), _number(node.right, known)
            if left is None or right is None:
                return None
            return left + right if isinstance(node.op, ast.Add) else left * right
    return None
