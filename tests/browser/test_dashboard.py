"""The dashboard, used as a person uses it, on a deployed stack."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, ViewportSize, expect

from bootstrap.paths import ROOT
from scripts import screenshot
from tests.browser.conftest import Opened
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

SCREENSHOTS = ROOT / ".local" / "screenshots"
PAGE_OF = 20
"""Tasks that the list shows at a time."""
DESK: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 390, "height": 844}
LOOKS: list[tuple[Literal["light", "dark"], ViewportSize]] = [("light", DESK), ("dark", DESK), ("light", PHONE)]
"""Of one page after the other: color scheme and size."""
API = re.compile(r"/(stats|tasks|dead-letters)(\?|$)")
DRAWN = """(minutes) => {
    showPlots({ at: "2027-01-15T08:30:10Z", perMinute: minutes.map((one) =>
        ({ ...one, minute: new Date(Date.parse("2027-01-15T08:30:00Z") - one.back * 60000).toISOString() })) });
    const all = (what) => [...document.querySelectorAll(what)];
    return {
        texts: all("#rate text").map((one) => one.textContent),
        places: all("#rate .bar").map((one) => +one.getAttribute("x")),
        latency: document.querySelector("#latency svg").getAttribute("aria-label"),
    };
}"""
"""What the plots show of these minutes, before the page looks again."""
VIEWS = ["", "tasks", "dead", "task", "submit", "sure", "away", "empty", "trouble", "loading"]


@pytest.fixture(scope="module")
def filled(embedded_stack: DeployedStack) -> DeployedStack:
    """The stack with more tasks than one page shows, and some that are dead."""
    for _ in range(PAGE_OF + 4):
        embedded_stack.tasks.submit()
    dead_tasks(embedded_stack, 2)
    # What the API counts is cached for seconds, and a page at rest asks for it every 30 s.
    eventually(embedded_stack.tasks.stats, lambda stats: stats.counts["FAILED_FINAL"].count >= 2)
    return embedded_stack


def dead_tasks(stack: DeployedStack, count: int, reason: str = "") -> list[str]:
    """Dead, recorded, and shown by the API."""
    ids = [new_id(f"dead{reason}") for _ in range(count)]
    for task_id in ids:
        stack.tasks.submit(task_id=task_id, payload={"simulate": {"permanent": True}})
    eventually(lambda: {one.task_id for one in stack.tasks.dead_letters()}, lambda found: set(ids) <= found)
    return ids


def generations(stack: DeployedStack, ids: Iterable[str]) -> dict[str, int]:
    return {task_id: stack.tasks.get(task_id).generation for task_id in ids}


def dead_again(stack: DeployedStack, replayed: Mapping[str, int]) -> None:
    """Replayed from these generations; the tests that follow count dead letters that no longer move."""

    def letters() -> dict[str, int]:
        return {one.task_id: one.generation for one in stack.tasks.dead_letters()}

    eventually(letters, lambda found: all(found.get(one, 0) > generation for one, generation in replayed.items()))


def kept(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def ids(page: Page, list_: str) -> list[str]:
    """Of the rows that a list shows."""
    page.locator(f"#{list_}-frame[aria-busy=false]").wait_for()
    return page.locator(f"#{list_} tbody .id").all_inner_texts()


def timeline(page: Page) -> list[str]:
    return page.locator("#task-body .timeline").first.locator("b").all_inner_texts()


def submit(page: Page, task_id: str, payload: str) -> None:
    page.locator("#new").click()
    page.get_by_label("Task id").fill(task_id)
    page.get_by_label("Payload, a JSON object").fill(payload)
    page.get_by_role("button", name="Submit", exact=True).click()


def test_a_failing_task_is_seen_to_retry_and_complete(opened: Opened) -> None:
    task_id, page = new_id("seen"), opened()
    state = page.locator("#task-body .state .badge")
    # A page that looks every 2 s sees it wait.
    submit(page, task_id, '{"simulate": {"failAttempts": [1], "retryAfterSeconds": 6}}')
    expect(page.locator("#task-id")).to_have_text(task_id)
    expect(state).to_have_text("Will retry")
    expect(state).to_have_text("Completed")
    assert timeline(page) == ["Submitted", "Processing", "Will retry", "Processing", "Completed"]


def test_a_dead_task_completes_once_it_is_replayed(opened: Opened) -> None:
    task_id, page = new_id("seen"), opened()
    state = page.locator("#task-body .state .badge")
    submit(page, task_id, '{"simulate": {"failGenerations": [1]}}')
    expect(state).to_have_text("Dead")
    assert timeline(page) == ["Submitted", "Processing", "Dead"]
    expect(page.locator("#task-body .callout")).to_contain_text("PermanentError")
    kept(page, "dead-task")
    page.locator("#task-body").get_by_role("button", name="Replay").click()
    page.locator("#sure-yes").click()
    expect(state).to_have_text("Completed")
    expect(page.locator("#task-kind")).to_have_text("simulated, generation 2")
    assert timeline(page)[-3:] == ["Submitted", "Processing", "Completed"]


def test_the_flow_shows_the_numbers_of_the_stack(opened: Opened, filled: DeployedStack) -> None:
    page = opened()
    completed = page.locator("#flow g.node").filter(has_text="Table").locator(".figure")
    expect(completed).to_have_text(re.compile("^[1-9][0-9]*"))
    expect(page.locator("#flow g.node").filter(has_text="Dead letters").locator(".figure")).to_have_text(
        re.compile("^[1-9][0-9]*")
    )
    expect(page.locator("#flow svg")).to_have_attribute("aria-label", re.compile("Queue: .* waiting"))
    expect(page.locator("#rate .bar.ok").first).to_be_attached()
    expect(page.locator("#latency .point.p50").first).to_be_attached()
    kept(page, "desktop")


def test_the_list_is_filtered_by_status_and_kind(opened: Opened, filled: DeployedStack) -> None:
    page = opened()
    ids(page, "tasks")
    page.get_by_label("Status").select_option("Dead")
    expect(page.locator("#tasks tbody .badge.ok")).to_have_count(0)
    found = ids(page, "tasks")
    assert found
    assert {filled.tasks.get(task_id).status for task_id in found} == {"FAILED_FINAL"}
    page.locator("#f-kind").fill("no-such-kind")
    expect(page.locator("#tasks .empty")).to_contain_text("No task matches")
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.locator("#tasks tbody tr")).to_have_count(PAGE_OF)


def test_pages_lead_to_older_tasks_and_back(opened: Opened, filled: DeployedStack) -> None:
    page = opened()
    first = ids(page, "tasks")
    assert len(first) == PAGE_OF
    page.locator("#tasks-older").click()
    expect(page.locator("#tasks-page")).to_have_text("Page 2")
    eventually(lambda: ids(page, "tasks"), lambda second: bool(second) and not set(second) & set(first))
    second = ids(page, "tasks")
    page.locator("#tasks-newer").click()
    expect(page.locator("#tasks-page")).to_have_text("Page 1")
    eventually(lambda: ids(page, "tasks"), lambda again: again == first)
    expect(page.locator("#tasks-newer")).to_be_disabled()
    page.locator("#tasks-older").click()
    eventually(lambda: ids(page, "tasks"), lambda again: again == second)
    page.locator("#tasks-newest").click()
    eventually(lambda: ids(page, "tasks"), lambda again: again == first)


def test_two_quick_clicks_on_older_lead_one_page_on(opened: Opened, filled: DeployedStack) -> None:
    page = opened()
    first, held = ids(page, "tasks"), list[Route]()
    page.route("**/tasks?*cursor=*", lambda route: held.append(route))
    page.evaluate("for (const _ of [1, 2]) document.getElementById('tasks-older').click()")
    expect(page.locator("#tasks-page")).to_have_text("Page 2")
    expect(page.locator("#tasks .bones")).to_be_visible()
    eventually(lambda: page.evaluate("1") and held)
    held[0].continue_()
    page.unroute("**/tasks?*cursor=*")
    second = eventually(lambda: ids(page, "tasks"), lambda found: found and not set(found) & set(first))
    expect(page.locator("#tasks-page")).to_have_text("Page 2")
    page.locator("#tasks-newest").click()
    ids(page, "tasks")  # until it is there, nothing is older
    page.locator("#tasks-older").click()
    eventually(lambda: ids(page, "tasks"), lambda again: again == second)


def test_selected_dead_letters_are_replayed_together(opened: Opened, filled: DeployedStack) -> None:
    wanted, other = dead_tasks(filled, 2), dead_tasks(filled, 1)[0]
    page = opened("key=" + filled.outputs["api_key"] + "&dead=")
    for task_id in wanted:
        page.get_by_label(f"Select {task_id}").check()
    page.get_by_role("button", name="Replay selected (2)").click()
    expect(page.locator("#sure-title")).to_have_text("Replay 2 tasks?")
    page.locator("#sure-yes").click()
    eventually(lambda: generations(filled, wanted), lambda found: found == dict.fromkeys(wanted, 2))
    assert filled.tasks.get(other).generation == 1
    dead_again(filled, dict.fromkeys(wanted, 1))


def test_a_replay_by_filter_counts_first_and_changes_nothing_until_it_is_wanted(
    opened: Opened, filled: DeployedStack
) -> None:
    dead_tasks(filled, 2)
    page = opened("key=" + filled.outputs["api_key"] + "&dead=")
    page.get_by_label("Error contains").fill("NO SUCH ERROR")
    expect(page.locator("#dead .empty")).to_contain_text("No dead letter matches")
    page.get_by_label("Error contains").fill("for good")
    expect(page.locator("#dead tbody tr").first).to_be_visible()
    before = {one.task_id: one.generation for one in filled.tasks.dead_letters(error="for good")}
    page.get_by_role("button", name="Replay all that match").click()
    expect(page.locator("#sure-title")).to_have_text(f"Replay {len(before)} tasks?")
    kept(page, "replay")
    page.locator("#sure-no").click()
    assert generations(filled, before) == before

    page.get_by_role("button", name="Replay all that match").click()
    expect(page.locator("#sure-title")).to_have_text(f"Replay {len(before)} tasks?")
    page.locator("#sure-yes").click()
    after = {task_id: generation + 1 for task_id, generation in before.items()}
    eventually(lambda: generations(filled, before), lambda now: now == after)
    dead_again(filled, before)


def test_a_replay_of_more_than_are_counted_says_so(opened: Opened, filled: DeployedStack) -> None:
    letter: dict[str, Any] = dict.fromkeys(("errorClass", "error", "firstAt", "sourceQueue"))
    letter |= {"kind": "simulated", "generation": 1, "attempts": 3, "receives": 3, "deadAt": "2027-01-15T08:00:00.000Z"}
    page = opened("key=" + filled.outputs["api_key"] + "&dead=")
    ids(page, "dead")

    def endless(route: Route) -> None:
        letters = [{**letter, "taskId": f"task-{number}"} for number in range(100)]
        route.fulfill(json={"deadLetters": letters, "cursor": "more"})

    page.route("**/dead-letters?*", endless)
    page.get_by_role("button", name="Replay all that match").click()
    expect(page.locator("#sure-title")).to_have_text("Replay the newest 10,000 tasks?")
    expect(page.locator("#sure-text")).to_contain_text("There are more that are dead")
    expect(page.locator("#sure-text")).not_to_contain_text("every dead task")


def test_all_on_the_page_are_selected_with_a_finger(opened: Opened, filled: DeployedStack) -> None:
    dead_tasks(filled, 2)
    page = opened("key=" + filled.outputs["api_key"] + "&dead=", **PHONE)
    found = ids(page, "dead")
    page.get_by_label("Select all on this page").click()
    expect(page.locator("#replay-selected")).to_have_text(f"Replay selected ({len(found)})")
    page.locator("#dead tbody input").first.uncheck()
    expect(page.get_by_label("Select all on this page")).not_to_be_checked()


def test_the_kinds_of_the_deployment_are_offered_and_one_of_them_is_submitted(
    opened: Opened, embedded_stack: DeployedStack
) -> None:
    known = list(embedded_stack.tasks.stats().kinds)
    assert {"simulated", "deposit", "transfer"} <= set(known)
    task_id, page = new_id("kind"), opened()
    offered = page.locator("#kinds option")  # beside those of tasks that were made under another deployment
    eventually(lambda: set(known) <= set(offered.evaluate_all("all => all.map((one) => one.value)")))
    page.locator("#new").click()
    choice = page.locator("#s-kind")
    assert choice.locator("option").all_inner_texts() == known
    expect(choice).to_have_value("simulated")
    choice.select_option("deposit")
    expect(page.locator("#s-examples")).to_be_hidden()
    page.get_by_label("Task id").fill(task_id)
    page.get_by_label("Payload, a JSON object").fill(f'{{"account": "{task_id}", "amount": 1}}')
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.locator("#task-kind")).to_have_text("deposit, generation 1")
    assert embedded_stack.tasks.get(task_id).kind == "deposit"


def test_a_task_is_found_by_its_id(opened: Opened, filled: DeployedStack) -> None:
    task_id, page = filled.tasks.submit().task_id, opened()
    find = page.get_by_role("searchbox", name="Find a task by its id")
    find.fill(f"  {task_id} ")
    find.press("Enter")
    expect(page.locator("#task-id")).to_have_text(task_id)
    expect(page.locator("#task-body .badge")).to_be_visible()
    page.keyboard.press("Escape")
    find.fill("no-such-task")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#task-body")).to_contain_text("No such task")
    page.keyboard.press("Escape")
    find.fill("..")
    find.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("no task id")
    expect(page.locator("#task")).to_be_hidden()


def test_a_task_is_run_again_under_a_new_id(opened: Opened, embedded_stack: DeployedStack) -> None:
    before = embedded_stack.tasks.submit(payload={"order": 12345678901234567890}, task_id=new_id("before")).task_id
    page = opened(f"key={embedded_stack.outputs['api_key']}&task={before}")
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_label("Task id")).to_have_value("")
    expect(page.locator("#s-kind")).to_have_value("simulated")
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.locator("#task-id")).not_to_have_text(before)
    expect(page.locator("#task-body .state .badge")).to_have_text("Completed")
    again = embedded_stack.tasks.get(page.locator("#task-id").inner_text())
    assert again.payload == {"order": 12345678901234567890}


def test_the_line_that_shows_its_logs_is_copied(opened: Opened, filled: DeployedStack) -> None:
    task_id = filled.tasks.submit().task_id
    page = opened(f"key={filled.outputs['api_key']}&task={task_id}")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#toasts")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"make logs TASK={task_id}"


def test_the_timeline_tells_what_each_step_took_and_what_comes_next(
    opened: Opened, embedded_stack: DeployedStack
) -> None:
    payload = {"simulate": {"failAttempts": [1], "retryAfterSeconds": 600}}
    task_id = embedded_stack.tasks.submit(payload=payload).task_id
    eventually(lambda: embedded_stack.tasks.get(task_id), lambda task: task.status == "FAILED_PENDING")
    page = opened(f"key={embedded_stack.outputs['api_key']}&task={task_id}")
    steps = page.locator("#task-body .timeline li small")
    expect(steps).to_have_count(4)
    times = steps.all_inner_texts()
    assert re.fullmatch(r"\d\d:\d\d:\d\d", times[0])
    assert [bool(re.search(r", \+\d+\.\d s, attempt 1$", text)) for text in times[1:3]] == [True, True]
    assert re.search(r", in (10|9) min$", times[3])


def test_a_day_that_is_not_today_is_named(opened: Opened, embedded_stack: DeployedStack) -> None:
    page = opened()
    expect(page.locator("#pulse-text")).to_have_text("Live")
    told = page.evaluate("[0, 1, 400].map((days) => when(new Date(now() - days * 86400000).toISOString()))")
    assert [bool(re.match(r"\d\d/\d\d/\d{4}, \d\d:", text)) for text in told] == [False, True, True]


def test_a_short_history_is_drawn_large(opened: Opened, embedded_stack: DeployedStack) -> None:
    page = opened()
    expect(page.locator("#rate svg")).to_be_visible()
    for back, first in (([0, 3], "15 min ago"), ([0, 15], "60 min ago"), ([0, 14], "15 min ago")):
        minutes = [{"completed": 1, "failed": 0, "dead": 0, "p50Ms": 4096, "p95Ms": 8192, "back": one} for one in back]
        drawn = page.evaluate(DRAWN, minutes)
        assert first in drawn["texts"]
        assert len(drawn["places"]) == 2
        assert min(drawn["places"]) >= 40, "under the numbers of the axis"
        assert "p50 about 4.1 s, p95 about 8.2 s" in drawn["latency"]


def test_a_task_that_waits_is_cancelled(opened: Opened, embedded_stack: DeployedStack) -> None:
    task_id = embedded_stack.tasks.submit(delay_seconds=600).task_id
    page = opened(f"key={embedded_stack.outputs['api_key']}&task={task_id}")
    page.get_by_role("button", name="Cancel it").click()
    page.locator("#sure-yes").click()
    expect(page.locator("#task-body .state .badge")).to_have_text("Cancelled")
    assert embedded_stack.tasks.get(task_id).status == "CANCELLED"


def test_what_is_no_json_object_is_not_sent(opened: Opened, embedded_stack: DeployedStack) -> None:
    task_id, page = new_id("unsent"), opened()
    page.locator("#new").click()
    page.get_by_label("Task id").fill(task_id)
    for payload in ("{", "[1]", "null", '{"a": NaN}'):
        page.get_by_label("Payload, a JSON object").fill("{}")
        expect(page.locator("#s-check")).not_to_have_class(re.compile("wrong"))
        page.get_by_label("Payload, a JSON object").fill(payload)
        page.get_by_role("button", name="Submit", exact=True).click()
        expect(page.locator("#s-check")).to_have_class(re.compile("wrong"))
        expect(page.locator("#submit")).to_be_visible()
    assert task_id not in ids(page, "tasks")


def test_a_refusal_of_the_api_is_shown_in_the_form(opened: Opened, embedded_stack: DeployedStack) -> None:
    page = opened()
    page.locator("#new").click()
    page.locator("#s-kind").select_option("deposit")
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.locator("#s-problem")).to_contain_text("account")


def test_data_never_becomes_markup(opened: Opened, embedded_stack: DeployedStack) -> None:
    told = '<img src=x onerror="document.title=1"><b>bold</b>'
    task = embedded_stack.tasks.submit(payload={"text": told})
    page = opened(f"key={embedded_stack.outputs['api_key']}&task={task.task_id}")
    expect(page.get_by_role("region", name="Payload")).to_contain_text("<b>bold</b>")
    assert page.locator("#task-body img, #task-body pre b").count() == 0


def test_a_number_that_a_browser_would_round_is_shown_as_it_is(opened: Opened, embedded_stack: DeployedStack) -> None:
    task = embedded_stack.tasks.submit(payload={"big": 12345678901234567890})
    page = opened(f"key={embedded_stack.outputs['api_key']}&task={task.task_id}")
    expect(page.get_by_role("region", name="Payload")).to_contain_text("12345678901234567890")


def test_the_page_says_when_the_api_is_away_and_catches_up_by_itself(
    opened: Opened, embedded_stack: DeployedStack
) -> None:
    page = opened()
    expect(page.locator("#pulse-text")).to_have_text("Live")

    def gone(route: Route) -> None:
        route.abort()

    page.route("**/dev/*", gone)
    expect(page.locator("#away")).to_be_visible()
    expect(page.locator("#pulse-text")).to_have_text("Away")
    kept(page, "away")
    task_id = embedded_stack.tasks.submit().task_id
    page.unroute("**/dev/*", gone)
    expect(page.locator("#away")).to_be_hidden()
    eventually(lambda: ids(page, "tasks"), lambda found: task_id in found)


TROUBLE = {
    429: ("The API is asked too often (429).", "Slowed down", '{"message": "Too Many Requests"}', "Too Many Requests"),
    503: (
        "The API cannot answer now (503).",
        "Away",
        '{"error": {"code": "unavailable", "message": "The task table did not answer."}}',
        "The task table did not answer.",
    ),
    504: ("The API cannot answer now (504).", "Away", "<html>Gateway", "HTTP 504"),
}


@pytest.mark.parametrize(("status", "told"), TROUBLE.items())
def test_what_is_wrong_is_said_and_gone_once_it_is_mended(
    status: int, told: tuple[str, str, str, str], opened: Opened, filled: DeployedStack
) -> None:
    banner, pulse, body, why = told
    page = opened("")

    def fails(route: Route) -> None:
        route.fulfill(status=status, body=body)

    page.route(API, fails)
    page.get_by_label("API key").fill(filled.outputs["api_key"])
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#away-what")).to_have_text(banner)
    expect(page.locator("#pulse-text")).to_have_text(pulse)
    expect(page.locator("#tasks .empty")).to_contain_text("The list could not be read")
    expect(page.locator("#tasks .empty")).to_contain_text(why)
    page.unroute(API, fails)
    expect(page.locator("#away")).to_be_hidden()
    expect(page.locator("#tasks tbody tr")).to_have_count(PAGE_OF)


def test_a_list_that_is_refused_says_why_and_other_filters_bring_it_back(opened: Opened, filled: DeployedStack) -> None:
    page = opened()
    ids(page, "tasks")
    refused = {"error": {"code": "invalid_request", "message": "kind is too long."}}
    page.route("**/tasks?kind=refused&*", lambda route: route.fulfill(status=400, json=refused))
    page.locator("#f-kind").fill("refused")
    expect(page.locator("#tasks .empty")).to_contain_text("kind is too long.")
    expect(page.locator("#away")).to_be_hidden()
    page.locator("#f-kind").fill("")
    expect(page.locator("#tasks tbody tr")).to_have_count(PAGE_OF)


def test_while_a_list_is_on_its_way_its_place_is_kept_and_an_empty_one_says_what_to_do(
    opened: Opened, embedded_stack: DeployedStack
) -> None:
    page, held = opened(""), list[Route]()
    page.route("**/tasks?*", lambda route: held.append(route))
    page.get_by_label("API key").fill(embedded_stack.outputs["api_key"])
    page.get_by_role("button", name="Open").click()
    eventually(lambda: page.evaluate("1") and held)
    expect(page.locator("#tasks-frame")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#tasks .bones")).to_be_visible()
    expect(page.locator("#tasks-older")).to_be_disabled()
    held[0].fulfill(json={"tasks": [], "cursor": None})
    expect(page.locator("#tasks .empty")).to_contain_text("No tasks yet")
    expect(page.locator("#tasks .bones")).to_have_count(0)
    page.locator("#tasks .empty").get_by_role("button", name="New task").click()
    expect(page.locator("#submit")).to_be_visible()


def test_a_wrong_key_is_refused_and_forgotten_and_a_right_one_opens(
    opened: Opened, embedded_stack: DeployedStack
) -> None:
    page = opened("key=wrong")
    expect(page.locator("#gate-why")).to_contain_text("does not take this key")
    assert page.evaluate("sessionStorage.length") == 0
    kept(page, "wrong-key")
    page.get_by_label("API key").fill(embedded_stack.outputs["api_key"])
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#pulse-text")).to_have_text("Live")


def test_the_key_leaves_the_address_at_once_and_stays_in_this_tab(opened: Opened, filled: DeployedStack) -> None:
    page = opened("key=" + filled.outputs["api_key"] + "&dead=")
    expect(page.locator("#dead")).to_be_visible()
    assert page.url.endswith("/#dead")
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    page.reload()
    expect(page.locator("#pulse-text")).to_have_text("Live")
    expect(opened("").locator("#gate")).to_be_visible()


def test_a_hidden_tab_asks_nothing(opened: Opened, embedded_stack: DeployedStack) -> None:
    page = opened()
    expect(page.locator("#pulse-text")).to_have_text("Live")
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    hide = "Object.defineProperty(document, 'hidden', {{configurable: true, value: {}}})"
    page.evaluate(hide.format("true"))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#pulse-text")).to_have_text("Paused")
    asked.clear()
    page.evaluate("kick()")
    page.clock.run_for(120_000)
    expect(page.locator("#pulse-text")).to_have_text("Paused")
    assert asked == []
    page.evaluate(hide.format("false"))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#pulse-text")).to_have_text("Live")
    asked.clear()
    page.clock.run_for(20_000)  # at rest it asks every 10 s
    eventually(lambda: page.evaluate("1") and asked)


def test_the_keyboard_alone_opens_a_task_and_comes_back(opened: Opened, filled: DeployedStack) -> None:
    page = opened()
    first = ids(page, "tasks")[0]
    page.locator("#tasks tbody .id").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#task-id")).to_have_text(first)
    page.keyboard.press("Escape")
    expect(page.locator("#task")).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == first


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_a_phone(
    view: str, opened: Opened, filled: DeployedStack
) -> None:
    page = shown(view, opened, filled)
    for scheme, size in LOOKS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        found = Axe().run(page).response["violations"]
        kept(page, f"{view or 'gate'}-{'phone' if size is PHONE else scheme}")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
    widths = page.evaluate(
        "[document.documentElement, ...document.querySelectorAll('dialog[open]')].map((one) => one.scrollWidth)"
    )
    assert max(widths) <= PHONE["width"]


@pytest.mark.usefixtures("filled")
def test_a_picture_of_the_running_stack_is_taken(
    embedded_stack: DeployedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_DIR", str(embedded_stack.folder))
    file = tmp_path / "picture.png"
    with screenshot.of_second(3, str(file)) as begins:
        begins()
        assert not file.exists()
    head = file.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert struct.unpack(">II", head[16:24]) == (1280, 1100)


def shown(view: str, opened: Opened, stack: DeployedStack) -> Page:
    """The page with one of VIEWS in front; the empty one asks for the key."""
    if view in ANSWERED:
        return answered(view, opened, stack)
    if not view:
        return opened("")
    dead = next(iter(stack.tasks.dead_letters()), None)
    task_id = dead.task_id if dead else dead_tasks(stack, 1)[0]
    parts = {"dead": "&dead=", "task": f"&task={task_id}", "sure": "&dead="}
    page = opened(f"key={stack.outputs['api_key']}{parts.get(view, '')}")
    ids(page, "dead" if view in ("dead", "sure") else "tasks")
    if view == "task":
        page.locator("#task-body .badge").wait_for()
    if view == "submit":
        page.locator("#new").click()
    if view == "sure":
        page.locator("#dead tbody button").first.click()
        page.locator("#sure").wait_for()
    if view == "away":
        page.route(API, lambda route: route.fulfill(status=503))
        page.evaluate("told(async () => {})")
        page.locator("#away").wait_for()
    return page


ANSWERED = {"empty": (200, '{"tasks": [], "cursor": null}'), "trouble": (503, ""), "loading": (0, "")}
"""Views of an API that answers to the list with this; 0 is an answer that does not come."""


def answered(view: str, opened: Opened, stack: DeployedStack) -> Page:
    status, body = ANSWERED[view]
    page = opened("")
    page.route("**/tasks?*", lambda route: route.fulfill(status=status, body=body) if status else None)
    page.get_by_label("API key").fill(stack.outputs["api_key"])
    page.get_by_role("button", name="Open").click()
    page.locator("#tasks .bones" if view == "loading" else "#tasks .empty").wait_for()
    return page
