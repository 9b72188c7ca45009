"""The CloudFormation templates as data."""

from __future__ import annotations

from typing import Any

import yaml

from bootstrap.paths import ROOT


class _Loader(yaml.SafeLoader):
    """Takes `!Ref name` as {"Ref": "name"}, and the same with every other short form."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


yaml.add_multi_constructor("!", _short_form, Loader=_Loader)


def template(name: str) -> dict[str, Any]:
    """bootstrap/<name>.yaml."""
    text = (ROOT / "bootstrap" / f"{name}.yaml").read_text()
    document: dict[str, Any] = yaml.load(text, _Loader)
    return document
