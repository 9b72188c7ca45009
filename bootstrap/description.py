"""The API's description as one deployment serves it: docs/openapi.yaml, with the kinds of task filled in.

The schema of a kind's payload is JSON Schema, draft 7; a schema in OpenAPI 3.0 knows less. What it cannot say is left
out here, so that the description takes more than the API does and never less; and the payload then carries the whole
schema as it is, under `x-json-schema`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bootstrap.kinds import Kind

Json = Mapping[str, Any]

SAME = frozenset(
    [
        "title",
        "description",
        "default",
        "enum",
        "multipleOf",
        "maxLength",
        "minLength",
        "pattern",
        "maxItems",
        "minItems",
        "uniqueItems",
        "maxProperties",
        "minProperties",
        "format",
    ]
)
"""Keywords that mean the same in both (OpenAPI 3.0.3, "Schema Object")."""
SAYS_NOTHING = frozenset({"$schema", "$id", "$comment", "definitions", "examples", "readOnly", "writeOnly", "nullable"})
"""Keywords of draft 7 that no payload is refused for."""
PYTHON_ONLY = re.compile(r"\\[AZ]|\(\?[aiLmsux-]+[:)]|\(\?P")
"""In a pattern: what the expressions of ECMA-262, which OpenAPI takes, do not know."""


def with_kinds(document: Json, kinds: Sequence[Kind]) -> dict[str, Any]:
    """`document` with a Submission for each kind: its name, and what its payload may be."""
    if not kinds:
        return dict(document)
    schemas = document["components"]["schemas"]
    submission = {
        "description": "One for each kind of task that is deployed. `kind` tells which.",
        "oneOf": [_submission(schemas["Submission"], kind) for kind in sorted(kinds, key=lambda kind: kind.name)],
    }
    components = {**document["components"], "schemas": {**schemas, "Submission": submission}}
    return {**document, "components": components}


def _submission(general: Json, kind: Kind) -> dict[str, Any]:
    named = general["properties"]["kind"]
    default = {"default": kind.name} if named.get("default") == kind.name else {}
    fields = {
        **general["properties"],
        "kind": {"type": named["type"], "enum": [kind.name], **default},
        "payload": payload(kind.schema),
    }
    required = [*([] if default else ["kind"]), *general["required"]]
    return {**general, "title": kind.name, "required": required, "properties": fields}


def payload(schema: Json) -> dict[str, Any]:
    """A JSON object that fits `schema`, in the words of OpenAPI 3.0."""
    translator = Translator(schema)
    translated = {"type": "object", **translator.schema(schema)}
    return translated if translator.exact else {**translated, "x-json-schema": schema}


class Translator:
    """Draft 7 to OpenAPI 3.0. `exact` turns False when something had to be left out."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._following: tuple[str, ...] = ()
        self.exact = True

    def schema(self, schema: Any) -> dict[str, Any]:
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        if "$ref" in schema:  # what stands beside it does not count (draft 7, core, section 8.3)
            return self._referred(schema["$ref"])
        out: dict[str, Any] = {}
        for keyword, value in schema.items():
            for name, said in self._keyword(keyword, value, schema).items():
                if out.setdefault(name, said) != said:  # two keywords of draft 7 are one of 3.0
                    out.setdefault("allOf", []).append({name: said})
        if "type" not in out and all(isinstance(one, str) for one in out.get("enum", [0])):
            out["type"] = "string"  # without a type, what makes clients of this makes them untyped
        if out.get("type") == "array":
            out.setdefault("items", {})  # which 3.0 asks for
        return out

    def _keyword(self, keyword: str, value: Any, schema: Json) -> dict[str, Any]:
        match keyword:
            case "pattern" if PYTHON_ONLY.search(value):
                return self._left_out()
            case "type":
                return _types(value)
            case "const":
                return {"enum": [value]}
            case "required":
                return {"required": list(value)} if value else {}
            case "minimum" | "exclusiveMinimum":
                return _bound("minimum", "exclusiveMinimum", max, schema)
            case "maximum" | "exclusiveMaximum":
                return _bound("maximum", "exclusiveMaximum", min, schema)
            case "properties":
                return {keyword: {name: self.schema(one) for name, one in value.items()}}
            case "additionalProperties" | "patternProperties":
                return self._others(schema)
            case "items" if not isinstance(value, list):
                return {keyword: self.schema(value)}
            case "allOf" | "anyOf":
                return {keyword: [self.schema(one) for one in value]}
            case "oneOf" | "not":
                return self._exactly(keyword, value)
        if keyword in SAME:
            return {keyword: value}
        return {} if keyword in SAYS_NOTHING else self._left_out()

    def _left_out(self) -> dict[str, Any]:
        self.exact = False
        return {}

    def _others(self, schema: Json) -> dict[str, Any]:
        """Properties that `properties` does not name. 3.0 cannot tell them apart by their names."""
        others = schema.get("additionalProperties", True)
        by_pattern = list(schema.get("patternProperties", {}).values())
        if not by_pattern:
            return {"additionalProperties": others if isinstance(others, bool) else self.schema(others)}
        self.exact = False
        allowed = [self.schema(one) for one in [*by_pattern, *([] if others is False else [others])]]
        return {"additionalProperties": allowed[0] if len(allowed) == 1 else {"anyOf": allowed}}

    def _exactly(self, keyword: str, value: Any) -> dict[str, Any]:
        """What takes more inside one of these takes less outside: then it is left out."""
        inner = Translator(self._root)
        inner._following = self._following
        translated = [inner.schema(one) for one in value] if keyword == "oneOf" else inner.schema(value)
        if inner.exact:
            return {keyword: translated}
        self.exact = False
        return {"anyOf": translated} if keyword == "oneOf" else {}

    def _referred(self, reference: str) -> dict[str, Any]:
        """What it leads to, put in its place; a schema within itself is left out."""
        found: Any = self._root
        if not reference.startswith("#") or reference in self._following:
            return self._left_out()
        for part in filter(None, reference[1:].split("/")):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        before, self._following = self._following, (*self._following, reference)
        try:
            return self.schema(found)
        finally:
            self._following = before


def _bound(inclusive: str, exclusive: str, narrower: Callable[..., Any], schema: Json) -> dict[str, Any]:
    """`exclusive` is a number of its own in draft 7, in 3.0 a flag on the other; of two bounds the narrower counts."""
    bound = narrower(schema[name] for name in (inclusive, exclusive) if name in schema)
    return {inclusive: bound, **({exclusive: True} if schema.get(exclusive) == bound else {})}


def _types(value: Any) -> dict[str, Any]:
    names = [value] if isinstance(value, str) else list(value)
    others, nullable = [name for name in names if name != "null"], "null" in names
    null = {"nullable": True} if nullable else {}
    if not others:
        return {"type": "string", "enum": [None], **null}
    if len(others) == 1:
        return {"type": others[0], **null}
    return {"anyOf": [{"type": name, **({"items": {}} if name == "array" else {}), **null} for name in others]}
