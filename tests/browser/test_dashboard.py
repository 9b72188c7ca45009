"""The dashboard, used as a person uses it, on a deployed stack."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from bootstrap.paths import ROOT
from tests.browser.conftest import Opened
from tests.support import faulty
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

SCREENSHOTS = ROOT / ".local" / "screenshots"
PAGE_OF = 20
"""Tasks that the list shows at a time."""
PHONE = {"width": 390, "height": 844}
VIEWS = ["", "tasks", "dead", "task", "submit"]


@pytest.fixture(scope="module")
def filled(embedded_stack: DeployedStack) -> DeployedStack:
    """The stack with more tasks than one page shows, and some that are dead."""
    for _ in range(PAGE_OF + 4):
        embedded_stack.tasks.submit()
    dead_tasks(embedded_stack, 2)
    return embedded_stack


def dead_tasks(stack: DeployedStack, count: int, reason: str = "") -> list[str]:
    """Dead, recorded, and shown by the API."""
    ids = [new_id(f"dead{reason}") for _ in range(count)]
    for task_id in ids:
        stack.tasks.submit(task_id=task_id, payload={"simulate": {"permanent": True}})
    eventually(lambda: {one.task_id for one in stack.tasks.dead_letters()}, lambda found: set(ids) <= found)
    return ids


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


def test_a_failing_task_is_seen_to_retry_and_die_and_completes_once_it_is_replayed(
    opened: Opened, embedded_stack: DeployedStack
) -> None:
    task_id, page = new_id("seen"), opened()
    state = page.locator("#task-body .state .badge")
    with faulty.configured(embedded_stack, "ProcessTask", Variables={"FAILURE_RATE": "1"}):
        submit(page, task_id, '{"order": 1}')
        expect(page.locator("#task-id")).to_have_text(task_id)
        expect(state).to_have_text("Will retry")
        expect(state).to_have_text("Dead")
        assert timeline(page) == ["Submitted", *["Processing", "Will retry"] * 2, "Processing", "Dead"]
        expect(page.locator("#task-body .callout")).to_contain_text("SimulatedFailure")
        kept(page, "dead-task")
        # Only once its letter is written. A function that is configured anew loses what it holds of the queue.
        replay = page.locator("#task-body").get_by_role("button", name="Replay")
        expect(replay).to_be_visible()
    replay.click()
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
    page.locator("#tasks-newest").click()
    eventually(lambda: ids(page, "tasks"), lambda again: again == first)


def test_selected_dead_letters_are_replayed_together(opened: Opened, filled: DeployedStack) -> None:
    wanted, other = dead_tasks(filled, 2), dead_tasks(filled, 1)[0]
    page = opened("key=" + filled.outputs["api_key"] + "&dead=")
    for task_id in wanted:
        page.get_by_label(f"Select {task_id}").check()
    page.get_by_role("button", name="Replay selected (2)").click()
    expect(page.locator("#sure-title")).to_have_text("Replay 2 tasks?")
    page.locator("#sure-yes").click()
    eventually(lambda: [filled.tasks.get(one).generation for one in wanted], lambda found: found == [2, 2])
    assert filled.tasks.get(other).generation == 1


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
    assert {task_id: filled.tasks.get(task_id).generation for task_id in before} == before

    page.get_by_role("button", name="Replay all that match").click()
    expect(page.locator("#sure-title")).to_have_text(f"Replay {len(before)} tasks?")
    page.locator("#sure-yes").click()
    after = {task_id: generation + 1 for task_id, generation in before.items()}
    eventually(lambda: {task_id: filled.tasks.get(task_id).generation for task_id in before}, lambda now: now == after)


def test_a_task_that_waits_is_cancelled(opened: Opened, embedded_stack: DeployedStack) -> None:
    task_id = embedded_stack.tasks.submit(delay_seconds=600).task_id
    page = opened(f"key={embedded_stack.outputs['api_key']}&task={task_id}")
    page.get_by_role("button", name="Cancel it").click()
    page.locator("#sure-yes").click()
    expect(page.locator("#task-body .state .badge")).to_have_text("Cancelled")
    assert embedded_stack.tasks.get(task_id).status == "CANCELLED"


@pytest.mark.parametrize("payload", ["{", "[1]", "null", '{"a": NaN}'])
def test_what_is_no_json_object_is_not_sent(payload: str, opened: Opened, embedded_stack: DeployedStack) -> None:
    task_id, page = new_id("unsent"), opened()
    submit(page, task_id, payload)
    expect(page.locator("#s-check")).to_have_class(re.compile("wrong"))
    expect(page.locator("#submit")).to_be_visible()
    assert task_id not in ids(page, "tasks")


def test_a_refusal_of_the_api_is_shown_in_the_form(opened: Opened, embedded_stack: DeployedStack) -> None:
    page = opened()
    page.locator("#new").click()
    page.get_by_label("Kind").last.fill("no-such-kind")
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.locator("#s-problem")).to_contain_text("kind")


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
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    hide = "Object.defineProperty(document, 'hidden', {{configurable: true, value: {}}})"
    page.evaluate(hide.format("true"))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#pulse-text")).to_have_text("Paused")
    asked.clear()
    assert page.evaluate("kick(); new Promise((done) => setTimeout(() => done(timer === null), 0))") is False
    expect(page.locator("#pulse-text")).to_have_text("Paused")
    assert asked == []
    page.evaluate(hide.format("false"))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#pulse-text")).to_have_text("Live")
    assert asked


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
def test_nothing_is_wider_than_a_phone(view: str, opened: Opened, filled: DeployedStack) -> None:
    page = shown(view, opened, filled, "light", **PHONE)
    widths = page.evaluate(
        "[document.documentElement, ...document.querySelectorAll('dialog[open]')].map((one) => one.scrollWidth)"
    )
    assert max(widths) <= PHONE["width"]
    kept(page, f"phone-{view or 'gate'}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(view: str, scheme: str, opened: Opened, filled: DeployedStack) -> None:
    page = shown(view, opened, filled, scheme)
    found = Axe().run(page).response["violations"]
    kept(page, f"{view or 'gate'}-{scheme}")
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


def shown(view: str, opened: Opened, stack: DeployedStack, scheme: str, **size: int) -> Page:
    """The page with one of VIEWS in front; the empty one asks for the key."""
    if not view:
        return opened("", scheme=scheme, **size)
    dead = next(iter(stack.tasks.dead_letters()), None)
    task_id = dead.task_id if dead else dead_tasks(stack, 1)[0]
    parts = {"dead": "&dead=", "task": f"&task={task_id}"}
    page = opened(f"key={stack.outputs['api_key']}{parts.get(view, '')}", scheme=scheme, **size)
    ids(page, "dead" if view == "dead" else "tasks")
    if view == "task":
        page.locator("#task-body .badge").wait_for()
    if view == "submit":
        page.locator("#new").click()
    return page
