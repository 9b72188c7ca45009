"""The tests named for each term: what would come of it without the term, and the row that is refused by it alone.

A name without brackets means all rows of that test; with an open bracket, those that begin so.
"""

from __future__ import annotations

from tests.mutation.judge import Killers
from tests.mutation.registry import constants

REFUSED = (
    "tests/contract/test_transitions_contract.py::"
    "test_a_transition_is_refused_with_the_old_row_when_a_single_term_does_not_hold"
)


def _in(file: str, *tests: str) -> tuple[str, ...]:
    return tuple(f"tests/{file}.py::test_{test}" for test in tests)


def _stale(end: str) -> tuple[str, ...]:
    return _in("unit/test_terms", f"a_worker_that_wakes_up_while_another_is_at_its_task_ends_nothing[{end}]")


def _repeated(*ends: str) -> tuple[str, ...]:
    return _in("unit/test_attempt", *(f"an_end_that_the_sdk_repeats_is_the_end_it_was[{end}]" for end in ends))


_NO_WORK = "a_message_that_is_no_work_changes_nothing"

HARM: Killers = {
    "claim.known_version": _in("unit/test_attempt", f"{_NO_WORK}[newer version]"),
    "claim.same_generation": (
        *_in("unit/test_steer", "messages_of_the_generation_before_are_let_go"),
        *_in("unit/test_attempt", f"{_NO_WORK}[older generation]", f"{_NO_WORK}[newer generation]"),
    ),
    "claim.not_parked_nor_ended": _in(
        "unit/test_terms", "a_late_message_begins_no_attempt_of_a_parked_task_even_when_that_is_due"
    ),
    "claim.attempts_left": _in("unit/test_attempt", "a_task_whose_last_worker_died_is_dead_without_another_attempt"),
    "claim.due_or_abandoned": _in(
        "unit/test_attempt",
        "a_delivery_while_the_task_is_worked_on_does_no_work",
        "a_claim_that_hung_and_lands_after_its_own_attempt_failed_begins_no_other",
        f"{_NO_WORK}[waiting]",
    ),
    "complete.still_processing": (
        *_repeated("completed"),
        *_in("unit/test_batch", "work_that_ends_after_the_time_of_its_kind_changes_nothing"),
        *_in(
            "unit/test_effects",
            "effects_repeated_when_their_token_is_forgotten_are_written_once_and_the_task_is_completed",
        ),
    ),
    "complete.own_token": _stale("complete"),
    "complete.same_generation": (),
    "retry.still_processing": (
        *_repeated("failed"),
        *_in("unit/test_attempt", "a_completion_whose_answer_is_lost_is_found_when_the_failure_is_to_be_written"),
    ),
    "retry.own_token": _stale("retry"),
    "retry.same_generation": (),
    "park.still_processing": _repeated("parked"),
    "park.own_token": _stale("park"),
    "park.same_generation": (),
    "die.still_processing": _repeated("dead", "dead of the last attempt"),
    "die.own_token": _stale("die"),
    "die.same_generation": (),
    "bury.same_generation": (),
    "bury.status_as_read": _in("unit/test_locks", "a_task_that_fails_while_it_is_given_up_waits_for_its_next_attempt"),
    "bury.token_as_read": (),
    "bury.attempts_as_read": (),
    "bury.no_live_lease": (),
    "bury.open": (),
    "mark_recorded.same_generation": _in(
        "unit/test_terms", "the_record_of_one_generation_does_not_pass_for_that_of_the_next_one_that_died"
    ),
    "mark_recorded.dead": (),
    "mark_recorded.not_recorded": (
        *_in("unit/test_monitor", "a_message_that_comes_twice_leaves_one_record"),
        *_in("unit/test_dead_letters", "monitor_and_sweeper_say_the_same_of_the_task_and_whoever_is_first_stays"),
    ),
    "hand_back.same_generation": (),
    "hand_back.status_as_read": _in(
        "unit/test_locks", "a_task_that_completes_while_it_is_handed_back_is_not_sent_again"
    ),
    "hand_back.token_as_read": _in(
        "unit/test_monitor", "a_task_that_changes_under_every_decision_is_left_for_the_next_delivery"
    ),
    "hand_back.attempts_as_read": (),
    "hand_back.no_live_lease": (),
    "hand_back.due": (),
    "hand_back.hand_backs_left": (),
    "mark_sent.same_generation": (),
    "mark_sent.class_as_read": _in(
        "unit/test_locks", "a_task_that_is_cancelled_while_it_is_swept_is_not_put_back_among_the_open"
    ),
    "mark_sent.not_sent_since": _in("unit/test_sweep", "of_two_sweepers_one_sends"),
    "mark_sent.no_live_lease": _in("unit/test_sweep", "a_task_that_is_claimed_while_it_is_swept_is_not_sent"),
    "mark_sent.due": _in("unit/test_locks", "a_task_that_is_tried_and_fails_while_it_is_swept_waits_for_its_backoff"),
    "cancel.same_generation": (),
    "cancel.status_as_read": _in("unit/test_steer", "a_task_that_completes_while_it_is_cancelled_stays_completed"),
    "cancel.token_as_read": (),
    "replay.same_generation": _in(
        "unit/test_steer", "a_task_that_changes_under_every_decision_is_given_up_with_nothing_done[replay]"
    ),
    "replay.dead": (),
    "replay.recorded": _in(
        "unit/test_locks",
        "a_replay_that_hung_until_another_task_of_the_same_id_has_died_does_not_replay_it_unrecorded",
    ),
    "replay.not_expired": (),
    "absent.absent_or_expired": _in(
        "unit/test_submit", "another_body_under_the_same_id_is_a_conflict_and_changes_nothing"
    ),
    "record_absent.absent_or_older_life": _in(
        "unit/test_dead_letters", "monitor_and_sweeper_say_the_same_of_the_task_and_whoever_is_first_stays"
    ),
    "stray_absent.absent": _in("unit/test_monitor", "a_stray_message_is_kept_by_its_own_id_and_touches_no_task"),
    "payload_there.still_there": _in(
        "contract/test_transitions_contract", "a_task_whose_long_payload_is_gone_is_not_replayed[fake"
    ),
}
"""Each term with the tests that tell of harm. Where there is none, only the row that it alone refuses holds it."""

_OLD_LIFE = "even_without_its_token_a_worker_of_the_life_before_ends_nothing"
_TAKEN = "any_one_term_keeps_the_monitor_from_a_task_that_another_worker_has_taken_since"


def _alone(write: str, *names: str) -> Killers:
    return {f"{write}.{name}": _in("unit/test_locks", f"{_TAKEN}[{write}-{name}]") for name in names}


SECOND_LOCKS: Killers = {
    **{
        f"{end}.same_generation": _in("unit/test_locks", f"{_OLD_LIFE}[{end}]")
        for end in ("complete", "retry", "park", "die")
    },
    **_alone("bury", "same_generation", "token_as_read", "attempts_as_read", "no_live_lease"),
    **_alone("hand_back", "same_generation", "attempts_as_read", "no_live_lease"),
    "bury.open": _in("unit/test_locks", "even_by_an_old_read_the_monitor_gives_up_no_task_that_has_completed"),
    "hand_back.due": _in(
        "unit/test_locks", "even_by_an_old_read_the_monitor_hands_back_no_task_that_waits_for_its_backoff"
    ),
    "hand_back.hand_backs_left": _in(
        "unit/test_locks", "even_by_an_old_read_two_monitors_hand_back_no_more_messages_than_there_may_be"
    ),
    "cancel.same_generation": _in(
        "unit/test_locks", "even_by_an_old_read_a_cancel_stands_in_the_history_of_the_life_that_it_ended"
    ),
}
"""Terms beside which another one always refuses the same: tests of the harm once that other one is gone."""


def _row(term: str) -> str:
    """The rows of the contract test that break this term alone, on the table in memory."""
    write, name = term.split(".")
    return f"{REFUSED}[fake-{write} - {name} - "


def _named(term: str) -> tuple[str, ...]:
    alone = term.split(".")[0] in constants()
    return (*HARM[term], *SECOND_LOCKS.get(term, ()), *(() if alone else (_row(term),)))


KILLERS: Killers = {term: _named(term) for term in HARM}
