"""A plan is known again by its digest: by all that it says, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bootstrap import aws_account
from bootstrap.errors import BootstrapError
from bootstrap.plan import Change, ParameterChange, Plan
from bootstrap.planned import Part, Planned

STORAGE, APP = "dev-tasks-storage", "dev-tasks-app"
QUEUE = Change("Modify", "TaskQueue", "AWS::SQS::Queue", "False", True, ("VisibilityTimeout",))
TABLE = Change("Add", "OtherTable", "AWS::DynamoDB::Table")
RAISED, LOWERED = ParameterChange("Seconds", "6", "60"), ParameterChange("Seconds", "60", "6")
PLAN = Plan("bootstrap-1", False, [QUEUE, TABLE], [RAISED])


def planned(
    part: Part | None = None,
    where: tuple[str, ...] = ("210987654321", "eu-west-1", "dev"),
    settle: tuple[ParameterChange, ...] = (),
) -> Planned:
    storage = part or Part("Resources: {}", {"Stage": "dev", "Seconds": "60"}, PLAN)
    return Planned(where, {STORAGE: storage, APP: Part("Resources: {}", {"Package": "a.zip"}, None)}, settle)


def with_plan(change: Callable[[Plan], Plan]) -> Planned:
    return planned(Part("Resources: {}", {"Stage": "dev", "Seconds": "60"}, change(PLAN)))


def test_the_same_plan_made_again_has_the_same_digest() -> None:
    again = with_plan(lambda plan: replace(plan, name="bootstrap-2", changes=[TABLE, QUEUE]))

    assert again.digest == planned().digest


def test_another_plan_has_another_digest() -> None:
    for other in (
        planned(where=("210987654322", "eu-west-1", "dev")),
        planned(where=("210987654321", "eu-north-1", "dev")),
        planned(settle=(LOWERED,)),
        planned(Part("Resources: {A: {}}", {"Stage": "dev", "Seconds": "60"}, PLAN)),
        planned(Part("Resources: {}", {"Stage": "dev", "Seconds": "61"}, PLAN)),
        planned(Part("Resources: {}", {"Stage": "dev", "Seconds": "60"}, None)),
        planned(Part("Resources: {}", {"Stage": "dev", "Seconds": "60"}, None, foreseen=False)),
        with_plan(lambda plan: replace(plan, creates=True)),
        with_plan(lambda plan: replace(plan, changes=[QUEUE])),
        with_plan(lambda plan: replace(plan, changes=[QUEUE, replace(TABLE, action="Remove")])),
        with_plan(lambda plan: replace(plan, changes=[replace(QUEUE, replacement="True"), TABLE])),
        with_plan(lambda plan: replace(plan, parameters=[replace(RAISED, old="7")])),
    ):
        assert other.digest != planned().digest, other


def test_where_there_is_nothing_to_do_a_comment_in_a_template_makes_no_other_plan() -> None:
    assert planned(Part("a", {}, None)).digest == planned(Part("b", {}, None)).digest


def test_before_there_is_a_storage_stack_the_digest_knows_the_apps_template_and_what_is_known_of_its_parameters() -> (
    None
):
    def digest(template: str, package: str) -> str:
        return planned(Part(template, {"Package": package}, None, foreseen=False)).digest

    assert len({digest("a", "1"), digest("b", "1"), digest("a", "2")}) == 3


def test_another_digest_is_refused_and_told_with_the_one_of_now() -> None:
    planned().check(planned().digest, "make deploy-aws")

    with pytest.raises(BootstrapError, match=r"Nothing was done") as caught:
        planned().check("of-another-day", "make deploy-aws")
    assert f"make deploy-aws PLAN={planned().digest}" in caught.value.hint


def test_only_the_very_plan_that_was_approved_is_carried_out() -> None:
    approve = aws_account.as_planned(planned(), [], "STAGE=dev make deploy-aws")

    assert approve(STORAGE, replace(PLAN, name="bootstrap-2")) is True
    for other in (replace(PLAN, changes=[QUEUE]), replace(PLAN, parameters=[LOWERED]), replace(PLAN, creates=True)):
        with pytest.raises(BootstrapError, match="another one than was approved") as caught:
            approve(STORAGE, other)
        assert "STAGE=dev make plan-aws" in caught.value.hint
    with pytest.raises(BootstrapError, match="another one than was approved"):
        approve(APP, PLAN)


def test_what_was_shown_to_be_lowered_after_the_app_is_lowered_and_no_more() -> None:
    approve = aws_account.as_planned(planned(settle=(LOWERED,)), [], "make deploy-aws")

    assert approve(STORAGE, Plan("settles", False, [QUEUE], [LOWERED])) is True
    with pytest.raises(BootstrapError, match="another one than was approved"):
        approve(STORAGE, Plan("settles", False, [QUEUE], [LOWERED, ParameterChange("Other", "1", "2")]))


def test_an_app_that_could_not_be_planned_before_its_storage_may_be_created_but_not_changed() -> None:
    approve = aws_account.as_planned(planned(Part("t", {}, None, foreseen=False)), [], "make deploy-aws")

    assert approve(STORAGE, replace(PLAN, creates=True)) is True
    with pytest.raises(BootstrapError, match="another one than was approved"):
        approve(STORAGE, PLAN)


def test_an_approved_loss_must_be_named_all_the_same() -> None:
    removes = replace(PLAN, changes=[replace(TABLE, action="Remove")])
    approved = planned(Part("t", {}, removes))

    assert aws_account.as_planned(approved, ["OtherTable"], "make deploy-aws")(STORAGE, removes) is True
    with pytest.raises(BootstrapError, match="would replace or remove OtherTable"):
        aws_account.as_planned(approved, [], "make deploy-aws")(STORAGE, removes)
