"""One stack from plan to end, on a CloudFormation that is late, busy, cut off, or fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from bootstrap import stack as stacks
from bootstrap import states
from bootstrap.errors import BootstrapError
from bootstrap.stack import Stack, StackFailed, Template
from tests.support.cloudformation import FakeCloudFormation, FakeStack, refusal

NAME = "dev-tasks-app"
TEMPLATE = Template("app.yaml", "Resources: {}")
ADDED: Mapping[str, Any] = {"Action": "Add", "LogicalResourceId": "TaskQueue", "ResourceType": "AWS::SQS::Queue"}
CREATED = ("TaskQueue", "AWS::SQS::Queue", "CREATE_COMPLETE", "")


def stack(aws: FakeCloudFormation, said: list[str] | None = None, holds_data: bool = False) -> Stack:
    heard = said if said is not None else []
    return Stack(cast(Any, aws), NAME, 0, heard.append, "make deploy-aws", holds_data)


def deploy(aws: FakeCloudFormation, said: list[str] | None = None, holds_data: bool = False) -> None:
    one = stack(aws, said, holds_data)
    plan = one.plan(TEMPLATE, {}, {})
    assert plan is not None
    one.execute(plan)


def in_state(status: str, **more: Any) -> FakeCloudFormation:
    return FakeCloudFormation(changes=[ADDED], events=[CREATED], stacks={NAME: FakeStack(status)}, **more)


def test_a_new_stack_is_created_and_each_resource_told() -> None:
    said: list[str] = []
    aws = FakeCloudFormation(changes=[ADDED], events=[CREATED])

    deploy(aws, said)

    assert aws.stacks[NAME].status == "CREATE_COMPLETE"
    assert said == ["TaskQueue created"]


def test_without_changes_there_is_no_plan_and_no_change_set_is_left() -> None:
    aws = FakeCloudFormation(stacks={NAME: FakeStack("CREATE_COMPLETE")})

    assert stack(aws).plan(TEMPLATE, {}, {}) is None
    assert aws.stacks[NAME].change_sets == {}
    assert "execute_change_set" not in aws.calls


# CloudFormation answers from copies, some of them late. ---------------------------------------------------------------


def test_a_change_set_that_is_not_seen_yet_is_looked_for_again() -> None:
    aws = FakeCloudFormation(changes=[ADDED], unseen_change_sets=3)

    assert stack(aws).plan(TEMPLATE, {}, {}) is not None


def test_a_new_stack_that_does_not_exist_yet_is_not_taken_for_a_deleted_one() -> None:
    aws = FakeCloudFormation(changes=[ADDED], events=[CREATED], late=3)

    deploy(aws)

    assert aws.stacks[NAME].status == "CREATE_COMPLETE"


def test_a_state_of_before_is_not_taken_for_the_end_of_the_change() -> None:
    failing = ("TaskQueue", "AWS::SQS::Queue", "UPDATE_FAILED", "no such attribute")
    aws = in_state("UPDATE_COMPLETE", late=2, ends="UPDATE_ROLLBACK_COMPLETE")
    aws.events = [failing]

    with pytest.raises(StackFailed, match="no such attribute"):
        deploy(aws)


def test_a_change_has_not_ended_before_its_events_are_told() -> None:
    failing = ("TaskQueue", "AWS::SQS::Queue", "UPDATE_FAILED", "no such attribute")
    aws = in_state("UPDATE_COMPLETE", late_events=3, ends="UPDATE_ROLLBACK_COMPLETE")
    aws.events = [failing]

    with pytest.raises(StackFailed, match="no such attribute"):
        deploy(aws)


def test_a_stack_that_is_never_seen_again_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "UNSEEN_SECONDS", 0.05)
    aws = FakeCloudFormation(changes=[ADDED], events=[CREATED], late=100_000)

    with pytest.raises(StackFailed):
        deploy(aws)


def test_of_a_long_history_only_the_new_events_are_read() -> None:
    aws = in_state("UPDATE_COMPLETE")
    aws.stacks[NAME].events = [
        {"EventId": f"old-{n}", "LogicalResourceId": "X", "ResourceType": "T", "ResourceStatus": "CREATE_FAILED"}
        for n in range(1000)
    ]
    said: list[str] = []

    deploy(aws, said)

    assert said == ["TaskQueue created"]
    assert aws.calls.count("describe_stack_events") == 2


@pytest.mark.parametrize("before", [None, "UPDATE_COMPLETE"])
def test_a_plan_whose_first_answer_was_lost_is_the_plan(before: str | None) -> None:
    stacks = {NAME: FakeStack(before)} if before else {}
    aws = FakeCloudFormation(changes=[ADDED], events=[CREATED], stacks=stacks, lost={"CreateChangeSet"})

    plan = stack(aws).plan(TEMPLATE, {}, {})

    assert plan is not None
    assert plan.creates is (before is None)
    assert list(aws.stacks[NAME].change_sets) == [plan.name]


@pytest.mark.parametrize("knows_tokens", [True, False])
@pytest.mark.parametrize("before", [None, "UPDATE_COMPLETE"])
def test_a_change_whose_first_answer_was_lost_is_followed_to_its_end(before: str | None, knows_tokens: bool) -> None:
    said: list[str] = []
    stacks = {NAME: FakeStack(before)} if before else {}
    aws = FakeCloudFormation(
        changes=[ADDED], events=[CREATED], stacks=stacks, lost={"ExecuteChangeSet"}, knows_tokens=knows_tokens
    )

    deploy(aws, said)

    assert said == ["TaskQueue created"]
    assert aws.calls.count("execute_change_set") == 2


@pytest.mark.parametrize("knows_tokens", [True, False])
def test_a_change_whose_first_answer_was_lost_may_fail_as_any_other(knows_tokens: bool) -> None:
    failing = ("TaskQueue", "AWS::SQS::Queue", "CREATE_FAILED", "no such attribute")
    aws = FakeCloudFormation(
        changes=[ADDED],
        events=[failing],
        ends="ROLLBACK_COMPLETE",
        lost={"ExecuteChangeSet"},
        knows_tokens=knows_tokens,
    )

    with pytest.raises(StackFailed, match="no such attribute"):
        deploy(aws)


def test_each_request_that_changes_something_has_the_name_of_its_plan_for_a_token() -> None:
    aws = FakeCloudFormation(changes=[ADDED], events=[CREATED])
    deploy(aws)

    assert len(aws.tokens) == 2
    assert len(set(aws.tokens)) == 1


# States that a stack may be found in. ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("CREATE_COMPLETE", "UPDATE"),
        ("UPDATE_COMPLETE", "UPDATE"),
        ("UPDATE_ROLLBACK_COMPLETE", "UPDATE"),
        ("REVIEW_IN_PROGRESS", "CREATE"),
        ("DELETE_COMPLETE", "CREATE"),
    ],
)
def test_a_stack_is_updated_or_created_by_the_state_it_is_in(status: str, kind: str) -> None:
    aws = in_state(status)

    assert stack(aws).plan(TEMPLATE, {}, {}) is not None
    assert [call for call in aws.calls if "create" in call] == [f"create_change_set {kind}"]
    assert "delete_stack" not in aws.calls


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"])
def test_what_never_came_to_be_is_deleted_and_made_anew(status: str) -> None:
    said: list[str] = []
    aws = in_state(status)

    deploy(aws, said, holds_data=True)

    assert said[0] == f"{NAME} is left over from a failed change ({status}); deleting it first"
    assert aws.calls.index("delete_stack") < aws.calls.index("create_change_set CREATE")
    assert aws.stacks[NAME].status == "CREATE_COMPLETE"


def test_a_failed_roll_back_is_refused_with_the_command_that_ends_it() -> None:
    aws = in_state("UPDATE_ROLLBACK_FAILED")

    with pytest.raises(BootstrapError) as caught:
        stack(aws).plan(TEMPLATE, {}, {})

    assert "UPDATE_ROLLBACK_FAILED" in caught.value.message
    assert f"aws cloudformation continue-update-rollback --stack-name {NAME} --region eu-west-1" in caught.value.hint
    assert not [call for call in aws.calls if "create" in call or "delete" in call]


def test_a_stack_with_data_whose_deletion_failed_is_left_alone() -> None:
    aws = in_state("DELETE_FAILED")

    with pytest.raises(BootstrapError, match="DELETE_FAILED"):
        stack(aws, holds_data=True).plan(TEMPLATE, {}, {})
    assert "delete_stack" not in aws.calls

    deploy(aws, holds_data=False)
    assert "delete_stack" in aws.calls


# Two at once. ---------------------------------------------------------------------------------------------------------


def test_another_change_is_waited_for_and_said() -> None:
    said: list[str] = []
    aws = in_state("UPDATE_COMPLETE", busy=["UPDATE_IN_PROGRESS", "UPDATE_IN_PROGRESS"])

    deploy(aws, said)

    assert said[0] == f"{NAME} is busy with another change (UPDATE_IN_PROGRESS); waiting for its end"
    assert aws.stacks[NAME].status == "UPDATE_COMPLETE"


@pytest.mark.parametrize(
    "message",
    [
        f"Stack:arn:{NAME} is in UPDATE_IN_PROGRESS state and can not be updated.",
        f"Stack [{NAME}] already exists and cannot be created again with the changeSet [x].",
    ],
)
def test_another_change_that_begins_between_the_look_and_the_plan_is_waited_for(message: str) -> None:
    aws = in_state("UPDATE_COMPLETE", refusals=[refusal("CreateChangeSet", "ValidationError", message)])

    deploy(aws)

    assert aws.calls.count("create_change_set UPDATE") == 2


def test_a_plan_that_is_gone_before_it_could_be_read_is_made_anew() -> None:
    aws = in_state("UPDATE_COMPLETE", overtaken=1)

    deploy(aws)

    assert aws.calls.count("create_change_set UPDATE") == 2
    assert aws.calls.count("execute_change_set") == 1


def test_a_plan_that_another_deploy_has_overtaken_is_not_carried_out() -> None:
    aws = in_state("UPDATE_COMPLETE")
    first, second = stack(aws), stack(aws)
    mine, theirs = first.plan(TEMPLATE, {}, {}), second.plan(TEMPLATE, {}, {})
    assert mine is not None
    assert theirs is not None
    second.execute(theirs)

    with pytest.raises(BootstrapError, match="another deploy was quicker") as caught:
        first.execute(mine)
    assert "make deploy-aws" in caught.value.hint


def test_forgetting_a_plan_for_a_new_stack_takes_its_name_away() -> None:
    aws = FakeCloudFormation(changes=[ADDED])
    one = stack(aws)
    plan = one.plan(TEMPLATE, {}, {})
    assert plan is not None

    one.discard(plan)

    assert aws.stacks == {}


def test_forgetting_a_plan_leaves_the_plan_of_somebody_else_alone() -> None:
    aws = FakeCloudFormation(changes=[ADDED])
    mine, theirs = stack(aws).plan(TEMPLATE, {}, {}), stack(aws).plan(TEMPLATE, {}, {})
    assert mine is not None
    assert theirs is not None

    stack(aws).discard(mine)

    assert set(aws.stacks[NAME].change_sets) == {theirs.name}


def test_forgetting_a_plan_leaves_the_stack_alone_that_somebody_else_has_made_meanwhile() -> None:
    aws = FakeCloudFormation(changes=[ADDED], events=[CREATED])
    mine = stack(aws).plan(TEMPLATE, {}, {})
    assert mine is not None
    deploy(aws)

    stack(aws).discard(mine)

    assert aws.stacks[NAME].status == "CREATE_COMPLETE"
    assert "delete_stack" not in aws.calls


# Failures. ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "ends", "did", "typed"),
    [
        (None, "ROLLBACK_COMPLETE", "what it had made is gone", "`make deploy-aws`: it deletes what is left"),
        (None, "ROLLBACK_FAILED", "a part of what it had made is left", "`make deploy-aws`: it deletes what is left"),
        ("CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "all is as it was before", "`make deploy-aws`."),
        ("CREATE_COMPLETE", "UPDATE_ROLLBACK_FAILED", "between old and new", "continue-update-rollback"),
        ("CREATE_COMPLETE", "UPDATE_FAILED", "in the state UPDATE_FAILED", "`make deploy-aws`."),
    ],
)
def test_a_failure_names_the_resource_the_reason_what_was_done_about_it_and_what_to_type(
    before: str | None, ends: str, did: str, typed: str
) -> None:
    failed = ("TaskQueue", "AWS::SQS::Queue", "CREATE_FAILED", "Invalid value for VisibilityTimeout.")
    cancelled = ("TaskDlq", "AWS::SQS::Queue", "CREATE_FAILED", "Resource creation cancelled")
    itself = (NAME, "AWS::CloudFormation::Stack", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed")
    aws = FakeCloudFormation(changes=[ADDED], events=[failed, cancelled, itself], ends=ends)
    if before:
        aws.stacks[NAME] = FakeStack(before)

    with pytest.raises(StackFailed) as caught:
        deploy(aws)

    said = caught.value
    expected = f"({ends}): TaskQueue (AWS::SQS::Queue): Invalid value for VisibilityTimeout. CloudFormation"
    assert expected in said.message
    assert "TaskDlq" not in said.message
    assert did in said.message
    assert typed in said.hint
    assert said.transient is None


def test_a_failure_that_goes_away_by_itself_is_known() -> None:
    for reason, found in (
        ("You must wait 60 seconds after deleting a queue before you can create another", states.QUEUE_NAME),
        ("... (Service: Sqs, Error Code: AWS.SimpleQueueService.QueueDeletedRecently)", states.QUEUE_NAME),
        ("The role defined for the function cannot be assumed by Lambda.", states.NEW_ROLE),
        (
            "The provided execution role does not have permissions to call ReceiveMessage on SQS (Service: Lambda, …)",
            states.NEW_POLICY,
        ),
        ("Rate exceeded (Service: Lambda, Status Code: 429)", states.THROTTLED),
        ("dev-tasks already exists in stack arn:…", None),
    ):
        events = [("TaskQueue", "AWS::SQS::Queue", "CREATE_FAILED", reason)]
        aws = FakeCloudFormation(changes=[ADDED], events=events, ends="ROLLBACK_COMPLETE")

        with pytest.raises(StackFailed) as caught:
            deploy(aws)
        assert caught.value.transient is found, reason


def test_a_refused_template_is_named_with_the_reason() -> None:
    aws = in_state("UPDATE_COMPLETE", refusals=[refusal("CreateChangeSet", "ValidationError", "Unresolved Ref [X]")])

    with pytest.raises(BootstrapError, match=r"app.yaml was refused: Unresolved Ref \[X\]"):
        stack(aws).plan(TEMPLATE, {}, {})


def test_a_call_that_failed_for_another_reason_is_not_put_down_to_the_template() -> None:
    expired = refusal("CreateChangeSet", "ExpiredToken", "The security token included in the request is expired")
    aws = in_state("UPDATE_COMPLETE", refusals=[expired])

    with pytest.raises(ClientError, match="ExpiredToken"):
        stack(aws).plan(TEMPLATE, {}, {})


def test_termination_protection_is_switched_on_once() -> None:
    aws = in_state("UPDATE_COMPLETE")

    assert stack(aws).protect() is True
    assert stack(aws).protect() is False
    assert aws.calls.count("update_termination_protection") == 1
