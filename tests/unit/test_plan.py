"""A change set as people read it: what stands out, and what is refused."""

from __future__ import annotations

from typing import Any

from bootstrap.plan import LOST, LOST_BY_TYPE, NAMES, Change, ParameterChange, Plan, change_of, lines, parameter_changes
from tests.support.templates import template

TABLE, QUEUE, FUNCTION = "AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::Lambda::Function"
BUCKET, KEY = "AWS::S3::Bucket", "AWS::ApiGateway::ApiKey"


def modified(replacement: str, *details: dict[str, Any], **more: str) -> dict[str, Any]:
    basics = {"Action": "Modify", "LogicalResourceId": "TaskQueue", "ResourceType": QUEUE}
    return {**basics, "Replacement": replacement, "Details": list(details), **more}


def detail(name: str, source: str) -> dict[str, Any]:
    return {"Target": {"Attribute": "Properties", "Name": name}, "ChangeSource": source}


def test_what_is_replaced_or_removed_is_lost() -> None:
    for action, replacement, verb, lost in (
        ("Add", "", "add", False),
        ("Modify", "False", "change", False),
        ("Modify", "", "change", False),
        ("Modify", "True", "REPLACE", True),
        ("Modify", "Conditional", "MAY REPLACE", True),
        ("Remove", "", "REMOVE", True),
    ):
        change = Change(action, "TaskTable", TABLE, replacement)

        assert change.verb == verb, action
        assert (change.loss is not None) is lost, action


def test_it_is_said_what_is_lost() -> None:
    for resource, type_, lost in (
        ("TaskTable", TABLE, "every task"),
        ("AccountsTable", TABLE, "every balance"),
        ("OtherTable", TABLE, "every item in it"),
        ("TaskQueue", QUEUE, "sends those of open tasks again"),
        ("TaskDlq", QUEUE, "records their tasks"),
        ("PackageBucket", "AWS::S3::Bucket", "packages"),
        ("DataBucket", "AWS::S3::Bucket", "every file"),
        ("ApiKey", "AWS::ApiGateway::ApiKey", "every client needs the new one"),
        ("SubmitTaskLogs", "AWS::Logs::LogGroup", "every log line"),
    ):
        loss = Change("Remove", resource, type_).loss

        assert loss is not None, resource
        assert lost in loss, resource


def test_every_resource_that_holds_something_has_its_loss_told() -> None:
    resources = template("storage")["Resources"]

    assert {name for name, one in resources.items() if Change("Remove", name, one["Type"]).loss is None} <= {
        name for name, one in resources.items() if one["Type"].endswith("Policy")
    }
    assert set(LOST) <= set(resources)
    assert {one["Type"] for name, one in resources.items() if name in LOST} <= set(LOST_BY_TYPE)


def test_what_is_kept_outside_of_the_stack_is_lost_to_it_all_the_same() -> None:
    change = change_of(modified("True", PolicyAction="ReplaceAndRetain"))

    assert change.loss is not None
    assert "kept outside of the stack" in change.loss


def test_a_function_made_anew_is_no_loss() -> None:
    assert Change("Remove", "SubmitTask", FUNCTION).loss is None


def test_what_holds_data_and_the_key_go_only_when_told_so_by_name() -> None:
    for change, allowed, refused in (
        (Change("Remove", "TaskTable", TABLE), [], True),
        (Change("Modify", "TaskQueue", QUEUE, "True"), [], True),
        (Change("Modify", "TaskQueue", QUEUE, "Conditional"), [], True),
        (Change("Modify", "TaskQueue", QUEUE, "True"), ["TaskTable"], True),
        (Change("Modify", "TaskQueue", QUEUE, "True"), ["TaskTable", "TaskQueue"], False),
        (Change("Modify", "TaskQueue", QUEUE, "False"), [], False),
        (Change("Add", "TaskQueue", QUEUE), [], False),
        (Change("Remove", "ApiKey", KEY), [], True),
        (Change("Modify", "ApiKey", KEY, "True"), ["ApiKey"], False),
        (Change("Modify", "DataBucket", BUCKET, "True"), [], True),
        (Change("Remove", "DataBucket", BUCKET), ["DataBucket"], False),
        (Change("Remove", "SubmitTask", FUNCTION), [], False),
    ):
        assert Plan("p", False, [change]).unwanted(allowed) == ([change] if refused else []), change


def test_what_is_to_be_replaced_under_the_name_that_it_keeps_is_told_to_be_refused() -> None:
    for change, name in (
        (Change("Modify", "TaskTable", TABLE, "True", True, ("KeySchema",)), "TableName"),
        (Change("Modify", "TaskQueue", QUEUE, "Conditional", True, ("FifoQueue",)), "QueueName"),
        (Change("Modify", "ApiKey", KEY, "True", True, ("Value",)), "Name"),
        (Change("Modify", "TaskTable", TABLE, "True", True, ("KeySchema", "TableName")), None),
        (Change("Modify", "TaskTable", TABLE, "True"), None),  # the target does not say what changes
        (Change("Modify", "TaskTable", TABLE, "False", True, ("BillingMode",)), None),
        (Change("Remove", "TaskTable", TABLE, "", True, ("KeySchema",)), None),
        (Change("Modify", "SubmitTaskRole", "AWS::IAM::Role", "True", True, ("Path",)), None),
    ):  # no fixed name
        told = [text for text, _ in lines("s", Plan("p", False, [change])) if "AWS REFUSES" in text]

        assert change.refused == name, change
        assert [f"under the same {name} " in text for text in told] == ([True] if name else []), change


def test_every_fixed_name_of_what_holds_data_is_known() -> None:
    for name, one in template("storage")["Resources"].items():
        if not one["Type"].endswith("Policy"):
            assert NAMES[one["Type"]] in one["Properties"], name


def test_properties_are_named_and_a_change_by_reference_only_is_not_direct() -> None:
    assert change_of(modified("False", detail("VisibilityTimeout", "ParameterReference"))) == Change(
        "Modify", "TaskQueue", QUEUE, "False", True, ("VisibilityTimeout",)
    )
    assert change_of(modified("False", detail("RedrivePolicy", "ResourceAttribute"))).direct is False
    assert change_of(modified("False")).direct is True


def test_parameters_that_differ_are_told_old_and_new() -> None:
    found = parameter_changes({"A": "1", "B": "2", "Gone": "x"}, {"A": "1", "B": "3", "C": "4"})

    assert found == [ParameterChange("B", "2", "3"), ParameterChange("C", None, "4")]
    assert [str(one) for one in found] == ["B: 2 -> 3", "C: (new) -> 4"]


def test_a_plan_reads_from_harmless_to_lossful() -> None:
    plan = Plan(
        "p",
        False,
        [
            Change("Remove", "TaskTable", TABLE),
            Change("Add", "SubmitTask", FUNCTION),
            Change("Add", "PostPermission", "AWS::Lambda::Permission"),
            Change("Add", "GetPermission", "AWS::Lambda::Permission"),
            Change("Modify", "TaskQueue", QUEUE, "False", True, ("VisibilityTimeout",)),
            Change("Modify", "TaskDlq", QUEUE, "False", False),
        ],
        [ParameterChange("QueueVisibilitySeconds", "174", "360")],
    )

    assert [text for text, _ in lines("dev-tasks-storage", plan)] == [
        "Plan for dev-tasks-storage: 3 to add, 1 to change, 1 to REMOVE.",
        "  + add     SubmitTask  Lambda::Function",
        "  ~ change  TaskQueue   SQS::Queue        VisibilityTimeout",
        "  - REMOVE  TaskTable   DynamoDB::Table",
        f"      DATA LOSS: {LOST['TaskTable']}.",
        "  + add  2 x Lambda::Permission",
        "  parameter QueueVisibilitySeconds: 174 -> 360",
        "  looked at again, since they refer to these: TaskDlq",
    ]
    assert {text for text, style in lines("x", plan) if "red" in style} == {
        "  - REMOVE  TaskTable   DynamoDB::Table",
        f"      DATA LOSS: {LOST['TaskTable']}.",
    }


def test_what_only_may_be_replaced_is_told_so() -> None:
    plan = Plan("p", False, [Change("Modify", "SubmitTaskLogs", "AWS::Logs::LogGroup", "Conditional")])

    assert [text for text, _ in lines("s", plan)] == [
        "Plan for s: 1 that it MAY REPLACE.",
        "  ! MAY REPLACE  SubmitTaskLogs  Logs::LogGroup",
        "      DATA LOSS, if so: every log line in it.",
    ]


def test_the_parameters_of_a_new_stack_are_no_changes() -> None:
    plan = Plan("p", True, [Change("Add", "TaskTable", TABLE)], [ParameterChange("Stage", None, "dev")])

    assert [text for text, _ in lines("s", plan)] == [
        "Plan for s (new): 1 to add.",
        "  + add  TaskTable  DynamoDB::Table",
    ]
