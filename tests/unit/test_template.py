"""Templates as data: short forms, globals, parameters, conditions, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap import template
from bootstrap.paths import ROOT
from bootstrap.template import Reference, TemplateError, load, merged, resolve

QUEUE = {"Type": "AWS::SQS::Queue"}
API = {"Type": "AWS::Serverless::Api"}
PARAMETERS = {
    "Stage": {"Type": "String", "Default": "dev"},
    "Timeout": {"Type": "Number", "Default": 29},
    "Rate": {"Type": "Number", "Default": "0.5"},
    "Names": {"Type": "CommaDelimitedList", "Default": "a, b"},
    "Arns": {"Type": "String", "Default": "arn:1,arn:2"},
}
CONDITIONS = {
    "IsDev": {"Fn::Equals": [{"Ref": "Stage"}, "dev"]},
    "IsProd": {"Fn::Not": [{"Condition": "IsDev"}]},
    "Either": {"Fn::Or": [{"Condition": "IsProd"}, {"Condition": "IsDev"}]},
    "Both": {"Fn::And": [{"Condition": "IsProd"}, {"Condition": "IsDev"}]},
    "Unknown": {"Fn::Contains": ["a", "b"]},
}


def a_document(value: Any = None, **parts: Any) -> dict[str, Any]:
    made = {"Type": "AWS::Test::Thing", "Properties": {"Value": value}}
    resources = {"Queue": QUEUE, "Api": API, "Made": made}
    mappings = {"Number": {"10": {"Is": 10}}}
    return {
        "Parameters": PARAMETERS,
        "Mappings": mappings,
        "Conditions": CONDITIONS,
        "Resources": resources,
        "Outputs": {},
        **parts,
    }


def resolved(value: Any, **given: Any) -> Any:
    """`value` as a property of a resource would have it."""
    return resolve(a_document(value), "a.yaml", given).resources["Made"].properties.get("Value", "left out")


# Intrinsic functions. -------------------------------------------------------------------------------------------------

VALUES: dict[str, tuple[Any, Any]] = {
    "a parameter": ({"Ref": "Stage"}, "dev"),
    "a number": ({"Ref": "Timeout"}, 29),
    "a part of a number": ({"Ref": "Rate"}, 0.5),
    "a list of texts": ({"Ref": "Names"}, ["a", "b"]),
    "a resource": ({"Ref": "Queue"}, Reference("Queue")),
    "an attribute": ({"Fn::GetAtt": ["Queue", "Arn"]}, Reference("Queue", "Arn")),
    "an attribute as text": ({"Fn::GetAtt": "Queue.Arn"}, Reference("Queue", "Arn")),
    "what SAM makes": ({"Ref": "ApiStage"}, Reference("ApiStage")),
    "a pseudo parameter": ({"Ref": "AWS::Partition"}, "aws"),
    "a text with values": ({"Fn::Sub": "${Stage}-${AWS::Region}-${Timeout}"}, "dev-eu-west-1-29"),
    "a text with a resource": ({"Fn::Sub": "${Queue.Arn}/index/${Queue}"}, "${Queue.Arn}/index/${Queue}"),
    "a text with a literal": ({"Fn::Sub": "${!Stage}"}, "${Stage}"),
    "a text with names of its own": ({"Fn::Sub": ["${A}/${Stage}", {"A": {"Ref": "Timeout"}}]}, "29/dev"),
    "the first branch": ({"Fn::If": ["IsDev", {"Ref": "Stage"}, "other"]}, "dev"),
    "the second branch": ({"Fn::If": ["IsProd", "other", {"Ref": "Stage"}]}, "dev"),
    "or": ({"Fn::If": ["Either", 1, 2]}, 1),
    "and": ({"Fn::If": ["Both", 1, 2]}, 2),
    "no value": ({"Fn::If": ["IsProd", 1, {"Ref": "AWS::NoValue"}]}, "left out"),
    "no value in a list": (["a", {"Ref": "AWS::NoValue"}, "b"], ["a", "b"]),
    "an entry of a mapping": ({"Fn::FindInMap": ["Number", "10", "Is"]}, 10),
    "a split text": ({"Fn::Split": [",", {"Ref": "Arns"}]}, ["arn:1", "arn:2"]),
    "a joined list": ({"Fn::Join": ["-", ["a", {"Ref": "Stage"}]]}, "a-dev"),
    "an item": ({"Fn::Select": [1, {"Fn::Split": [",", {"Ref": "Arns"}]}]}, "arn:2"),
    "an item by text": ({"Fn::Select": ["0", {"Ref": "Names"}]}, "a"),
    "inside maps and lists": ({"A": [{"B": {"Ref": "Stage"}}]}, {"A": [{"B": "dev"}]}),
    "a map with a Ref beside others": ({"Ref": "Stage", "B": 1}, {"Ref": "Stage", "B": 1}),
}


def test_a_value_is_filled_in() -> None:
    for value, found in VALUES.values():
        assert resolved(value) == found, value
        assert type(resolved(value)) is type(found), value


def test_a_given_value_comes_before_the_default() -> None:
    assert resolved({"Ref": "Stage"}, Stage="prod") == "prod"
    assert resolved({"Ref": "Timeout"}, Timeout="7") == 7
    assert resolved({"Fn::If": ["IsDev", 1, 2]}, Stage="prod") == 2


def test_an_attribute_of_another_template_can_be_given_and_stays_what_it_is() -> None:
    arn = Reference("TaskTable", "Arn")
    assert resolved({"Ref": "Timeout"}, Timeout=arn) == arn
    assert resolved({"Fn::Sub": "${Stage}/index/by-class"}, Stage=arn) == "${TaskTable.Arn}/index/by-class"


REFUSED: dict[str, tuple[Any, str]] = {
    "a function": ({"Fn::Cidr": ["10.0.0.0/16", 1, 8]}, "Fn::Cidr is not resolved here"),
    "a function deep inside": ([{"A": {"Fn::Base64": "x"}}], "Fn::Base64 is not resolved here"),
    "a function in a condition": ({"Fn::If": ["Unknown", 1, 2]}, "Fn::Contains is not resolved here"),
    "a resource": ({"Ref": "Nobody"}, "there is no parameter and no resource Nobody"),
    "what SAM does not make of a queue": ({"Ref": "QueueStage"}, "there is no parameter and no resource QueueStage"),
    "an attribute": ({"Fn::GetAtt": ["Nobody", "Arn"]}, "there is no parameter and no resource Nobody"),
    "a name in a text": ({"Fn::Sub": "${Nobody}"}, "there is no parameter and no resource Nobody"),
    "a condition": ({"Fn::If": ["Nobody", 1, 2]}, "there is no condition Nobody"),
    "a key": ({"Fn::FindInMap": ["Number", "11", "Is"]}, "there is no 11 in the mapping Number"),
    "an item": ({"Fn::Select": [2, {"Ref": "Names"}]}, "Fn::Select: there is no item 2 among 2"),
}


def test_what_cannot_be_resolved_names_itself_and_where_it_stands() -> None:
    for value, said in REFUSED.values():
        with pytest.raises(TemplateError) as error:
            resolved(value)
        assert error.value.message == f"a.yaml: Made: {said}", value


# Parameters, conditions, globals, outputs. ----------------------------------------------------------------------------


def test_a_parameter_without_a_value_or_without_a_declaration_is_named() -> None:
    with pytest.raises(TemplateError, match=r"^a.yaml: parameter Needed has no value$"):
        resolve(a_document(Parameters={**PARAMETERS, "Needed": {"Type": "String"}}), "a.yaml", {})
    with pytest.raises(TemplateError, match=r"^a.yaml: there is no parameter Stray$"):
        resolve(a_document(), "a.yaml", {"Stray": "x"})


@pytest.mark.parametrize(("stage", "there"), [("dev", False), ("prod", True)])
def test_a_resource_or_an_output_is_there_only_under_its_condition(stage: str, there: bool) -> None:
    resources = {"Always": QUEUE, "Sometimes": {**QUEUE, "Condition": "IsProd"}}
    outputs = {"One": {"Value": {"Ref": "Always"}}, "Two": {"Condition": "IsProd", "Value": {"Ref": "Sometimes"}}}
    found = resolve(a_document(Resources=resources, Outputs=outputs), "a.yaml", {"Stage": stage})
    assert ("Sometimes" in found.resources) is ("Two" in found.outputs) is there
    assert found.outputs["One"] == Reference("Always")


def test_globals_are_merged_as_sam_merges_them() -> None:
    for general, special, both in (
        ({"A": 1, "B": {"C": 1}}, {"B": {"D": 2}}, {"A": 1, "B": {"C": 1, "D": 2}}),
        ({"A": 1}, {"A": 2}, {"A": 2}),
        ({"A": ["x"]}, {"A": ["y"]}, {"A": ["x", "y"]}),
        ({"A": {"Ref": "X"}}, {"A": {"Ref": "Y"}}, {"A": {"Ref": "Y"}}),
        ({"A": {"Ref": "X"}}, {"A": {"B": 1}}, {"A": {"B": 1}}),
    ):
        assert merged(general, special) == both, general


def test_globals_reach_the_resources_of_their_type_alone() -> None:
    function = {
        "Type": "AWS::Serverless::Function",
        "Properties": {"Environment": {"Variables": {"A": {"Ref": "Stage"}}}},
    }
    common = {"Function": {"Timeout": {"Ref": "Timeout"}, "Environment": {"Variables": {"B": "b"}}}}
    found = resolve(a_document(Resources={"F": function, "Q": QUEUE}, Globals=common), "a.yaml", {})
    assert found.resources["F"].properties == {"Timeout": 29, "Environment": {"Variables": {"A": "dev", "B": "b"}}}
    assert found.resources["Q"].properties == {}


def test_a_section_of_globals_that_is_not_merged_is_named() -> None:
    with pytest.raises(TemplateError, match=r"^a.yaml: Globals: StateMachine is not resolved here$"):
        resolve(a_document(Globals={"StateMachine": {}}), "a.yaml", {})


# Reading. -------------------------------------------------------------------------------------------------------------

SHORT = """
A: !Ref Stage
B: !GetAtt Queue.Arn
C: !Sub "${Stage}-x"
D: !If [IsDev, !Ref Stage, !Sub ["${A}", {A: b}]]
E: !Select [0, !Split [",", !Ref Arns]]
F: !Condition IsDev
"""
LONG = {
    "A": {"Ref": "Stage"},
    "B": {"Fn::GetAtt": ["Queue", "Arn"]},
    "C": {"Fn::Sub": "${Stage}-x"},
    "D": {"Fn::If": ["IsDev", {"Ref": "Stage"}, {"Fn::Sub": ["${A}", {"A": "b"}]}]},
    "E": {"Fn::Select": [0, {"Fn::Split": [",", {"Ref": "Arns"}]}]},
    "F": {"Condition": "IsDev"},
}


def test_short_forms_are_read_as_their_long_ones(tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text(SHORT)
    assert load(path) == LONG


def test_an_ordinary_loader_learns_nothing_of_the_short_forms() -> None:
    with pytest.raises(yaml.constructor.ConstructorError):
        yaml.safe_load("A: !Ref Stage")


def test_the_templates_of_this_project_are_resolved_whole() -> None:
    storage = resolve(load(ROOT / "bootstrap/storage.yaml"), "storage.yaml", {"MaxReceiveCount": 6})
    assert storage.outputs["QueueArn"] == Reference("TaskQueue", "Arn")
    assert storage.resources["TaskQueue"].properties["RedrivePolicy"] == {
        "deadLetterTargetArn": Reference("TaskDlq", "Arn"),
        "maxReceiveCount": 6,
    }
    assert [queue.name for queue in storage.of_type("AWS::SQS::Queue")] == ["TaskQueue", "TaskDlq"]
    assert template.PSEUDO["AWS::AccountId"] in storage.resources["PackageBucket"].properties["BucketName"]
