"""A template as CloudFormation sees it: short forms read, SAM globals merged, parameters and conditions filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bootstrap.errors import BootstrapError

try:
    from yaml import CSafeLoader as SafeLoader  # ten times as fast, where PyYAML was built with libyaml
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]  # the same to whoever loads by it

Document = Mapping[str, Any]

GLOBALS = {"Function": "AWS::Serverless::Function", "Api": "AWS::Serverless::Api"}
"""Section of SAM's globals -> resources it is merged into (SAM specification, "Globals")."""
SAM = "AWS::Serverless"
NO_VALUE = object()
"""AWS::NoValue: the property or list item that holds it is not there."""
PSEUDO: Mapping[str, Any] = {
    "AWS::AccountId": "123456789012",
    "AWS::NoValue": NO_VALUE,
    "AWS::NotificationARNs": [],
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/stack/00000000-0000-0000-0000-000000000000",
    "AWS::StackName": "stack",
    "AWS::URLSuffix": "amazonaws.com",
}
"""Plausible values: where a stack will lie decides nothing that is looked at here."""


class TemplateError(BootstrapError):
    """A template names something that is not there, or asks for what is not resolved here."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What only the deployed resource can tell: its own value (Ref), or one of its attributes (GetAtt)."""

    resource: str
    attribute: str | None = None

    def __str__(self) -> str:
        """As it stands inside a longer text."""
        return f"${{{self.resource}{'.' + self.attribute if self.attribute else ''}}}"


@dataclass(frozen=True, slots=True)
class Resource:
    name: str
    """Logical id."""
    type: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """With every value filled in but those that only a deployed resource knows: these are References."""

    name: str
    resources: Mapping[str, Resource]
    """Those whose condition holds."""
    outputs: Mapping[str, Any]

    def of_type(self, *types: str) -> list[Resource]:
        return [resource for resource in self.resources.values() if resource.type in types]


class _Loader(SafeLoader):
    """Takes `!Ref name` as {"Ref": "name"}, and every other short form as its long one."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        text = str(loader.construct_scalar(node))
        return {name: text.split(".", 1) if suffix == "GetAtt" else text}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


yaml.add_multi_constructor("!", _short_form, Loader=_Loader)


def load(path: Path) -> Document:
    """A template with its intrinsic functions in their long forms.

    Raises:
        TemplateError: it is not YAML; with file and line.
    """
    return _read(path, _Loader)


def load_plain(path: Path) -> Document:
    """A YAML file of any other sort; raises as `load` does."""
    return _read(path, SafeLoader)


def _read(path: Path, loader: type[SafeLoader]) -> Document:
    try:
        document: Document = yaml.load(path.read_text(), loader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        raise TemplateError(f"{path.name} is not YAML: {error}", "Mend it. What is deployed stays as it is.") from error
    return document


def resolve(document: Document, name: str, given: Mapping[str, Any]) -> Template:
    """What `document` says under these values of its parameters. A value may be a Reference into another template.

    Raises:
        TemplateError: naming what is missing, unknown or not resolved here, and where.
    """
    resolver = _Resolver(document, _parameters(document, name, given))
    resources, outputs = {}, {}
    for logical_id, resource in _with_globals(document, name).items():
        with_values = _at(f"{name}: {logical_id}", resolver.entry, resource)
        if with_values is not NO_VALUE:
            resources[logical_id] = Resource(logical_id, resource["Type"], with_values.get("Properties", {}))
    for output, value in document.get("Outputs", {}).items():
        with_values = _at(f"{name}: {output}", resolver.entry, value)
        if with_values is not NO_VALUE:
            outputs[output] = with_values["Value"]
    return Template(name, resources, outputs)


def _at(where: str, step: Callable[[Any], Any], value: Any) -> Any:
    try:
        return step(value)
    except TemplateError as error:
        raise TemplateError(f"{where}: {error.message}", error.hint) from error


def _parameters(document: Document, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    declared: Mapping[str, Document] = document.get("Parameters", {})
    if strangers := sorted(set(given) - set(declared)):
        raise TemplateError(f"{name}: there is no parameter {strangers[0]}")
    values = {}
    for parameter, declaration in declared.items():
        if parameter not in given and "Default" not in declaration:
            raise TemplateError(f"{name}: parameter {parameter} has no value")
        values[parameter] = _typed(given.get(parameter, declaration.get("Default")), declaration["Type"])
    return values


def _typed(value: Any, declared: str) -> Any:
    """CloudFormation takes every parameter as text, and hands on a Number as a number."""
    if isinstance(value, Reference):
        return value
    if declared == "Number":
        number = float(value)
        return int(number) if number.is_integer() else number
    if declared == "CommaDelimitedList":
        return [item.strip() for item in str(value).split(",")]
    return str(value)


def _with_globals(document: Document, name: str) -> dict[str, dict[str, Any]]:
    sections: Mapping[str, Document] = document.get("Globals", {})
    if strangers := sorted(set(sections) - set(GLOBALS)):
        raise TemplateError(f"{name}: Globals: {strangers[0]} is not resolved here")
    common = {GLOBALS[section]: properties for section, properties in sections.items()}
    return {
        logical_id: {**resource, "Properties": merged(common.get(resource["Type"], {}), resource.get("Properties", {}))}
        for logical_id, resource in document["Resources"].items()
    }


def merged(general: Any, own: Any) -> Any:
    """SAM's rule for globals: maps are merged, lists are joined (the general one first), anything else is replaced."""
    if _is_map(general) and _is_map(own):
        return {**general, **{key: merged(general[key], own[key]) if key in general else own[key] for key in own}}
    if isinstance(general, list) and isinstance(own, list):
        return [*general, *own]
    return own


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping) and _intrinsic(value) is None


def _intrinsic(value: Any) -> str | None:
    """The name of the intrinsic function that `value` is, if it is one."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return None
    (name,) = value
    return name if name == "Ref" or str(name).startswith("Fn::") else None


class _Resolver:
    def __init__(self, document: Document, parameters: Mapping[str, Any]) -> None:
        self._document = document
        self._values = {**PSEUDO, **parameters}
        self._functions: Mapping[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._get_att,
            "Fn::Sub": self._sub,
            "Fn::If": self._if,
            "Fn::FindInMap": self._find_in_map,
            "Fn::Split": self._split,
            "Fn::Join": self._join,
            "Fn::Select": self._select,
        }
        self._logic: Mapping[str, Callable[[Sequence[Any]], bool]] = {
            "Fn::Equals": self._equals,
            "Fn::Not": lambda terms: not self._holds(terms[0]),
            "Fn::And": lambda terms: all(self._holds(term) for term in terms),
            "Fn::Or": lambda terms: any(self._holds(term) for term in terms),
        }

    def entry(self, entry: Document) -> Any:
        """A resource or an output: NO_VALUE when its condition does not hold."""
        if "Condition" in entry and not self._condition(entry["Condition"]):
            return NO_VALUE
        return {key: self.value(part) for key, part in entry.items() if key in ("Properties", "Value")}

    def value(self, value: Any) -> Any:
        name = _intrinsic(value)
        if name is not None:
            if name not in self._functions:
                raise TemplateError(f"{name} is not resolved here", "Teach it to bootstrap/template.py.")
            return self._functions[name](value[name])
        if isinstance(value, Mapping):
            return {key: found for key, part in value.items() if (found := self.value(part)) is not NO_VALUE}
        if isinstance(value, list):
            return [found for part in value if (found := self.value(part)) is not NO_VALUE]
        return value

    def _ref(self, name: str) -> Any:
        return self._values[name] if name in self._values else Reference(self._known(name))

    def _get_att(self, path: Sequence[str] | str) -> Reference:
        resource, attribute = path.split(".", 1) if isinstance(path, str) else path
        return Reference(self._known(resource), attribute)

    def _known(self, name: str) -> str:
        resources: Mapping[str, Document] = self._document["Resources"]
        if name not in resources and not any(_makes(resources[own]["Type"], own, name) for own in resources):
            raise TemplateError(f"there is no parameter and no resource {name}")
        return name

    def _sub(self, argument: Any) -> str:
        text, local = (argument, {}) if isinstance(argument, str) else argument

        def filled(found: re.Match[str]) -> str:
            literal, name = found[1], found[2]
            if literal:
                return f"${{{name}}}"
            if name in local:
                return str(self.value(local[name]))
            return str(self._get_att(name) if "." in name else self._ref(name))

        return re.sub(r"\$\{(!?)([^}]+)\}", filled, text)

    def _if(self, argument: Sequence[Any]) -> Any:
        condition, then, otherwise = argument
        return self.value(then if self._condition(condition) else otherwise)

    def _find_in_map(self, argument: Sequence[Any]) -> Any:
        mapping, first, second = (self.value(part) for part in argument)
        try:
            return self._document["Mappings"][mapping][str(first)][str(second)]
        except KeyError as error:
            raise TemplateError(f"there is no {error.args[0]} in the mapping {mapping}") from error

    def _split(self, argument: Sequence[Any]) -> list[str]:
        separator, text = argument
        return str(self.value(text)).split(separator)

    def _join(self, argument: Sequence[Any]) -> str:
        separator, parts = argument
        return str(separator).join(str(part) for part in self.value(parts))

    def _select(self, argument: Sequence[Any]) -> Any:
        index, parts = (self.value(part) for part in argument)
        if not 0 <= int(index) < len(parts):
            raise TemplateError(f"Fn::Select: there is no item {index} among {len(parts)}")
        return parts[int(index)]

    def _condition(self, name: str) -> bool:
        conditions: Mapping[str, Any] = self._document.get("Conditions", {})
        if name not in conditions:
            raise TemplateError(f"there is no condition {name}")
        return self._holds(conditions[name])

    def _holds(self, term: Mapping[str, Any]) -> bool:
        (name,) = term
        if name == "Condition":
            return self._condition(term[name])
        if name not in self._logic:
            raise TemplateError(f"{name} is not resolved here", "Teach it to bootstrap/template.py.")
        return self._logic[name](term[name])

    def _equals(self, terms: Sequence[Any]) -> bool:
        left, right = (self.value(term) for term in terms)
        return str(left) == str(right)


def _makes(resource_type: str, own: str, name: str) -> bool:
    """SAM makes more resources, each named after the one it is for (`TaskApiStage`)."""
    return resource_type.startswith(SAM) and name.startswith(own)
