"use strict";
// One task, at #task=<id>.

let watched = null; // { id, task }

function openTask(id) {
  if (watched?.id === id) return;
  watched = { id, task: null };
  say($("task-id"), id);
  say($("task-kind"), "Task");
  $("task-body").replaceChildren(el("div", { class: "bones" }, ...Array.from({ length: 4 }, () => el("i"))));
  if (!$("task").open) $("task").showModal();
  $("task-id").focus();
  kick();
}

function closeTask() {
  watched = null;
  if ($("task").open) $("task").close();
}

async function loadTask() {
  const { id } = watched;
  let task;
  try {
    task = await call("GET", taskPath(id));
  } catch (error) {
    if (error.status !== 404 || watched?.id !== id) throw error;
    $("task-body").replaceChildren(nothing("?", "No such task", "There is no task with this id, or it has expired."));
    watched.task = { status: "GONE" };
    return;
  }
  if (watched?.id !== id) return;
  const seen = JSON.stringify(task);
  if (watched.seen === seen) return;
  Object.assign(watched, { task, seen });
  showTask(task);
}

function showTask(task) {
  say($("task-kind"), `${task.kind}, generation ${task.generation}`);
  const body = $("task-body");
  const held = body.contains(document.activeElement) && document.activeElement !== body ? document.activeElement.dataset.does : null;
  body.replaceChildren(
    el("div", { class: "state" }, badge(task.status), el("span", { class: "note num" }, `attempt ${task.attempts} of ${task.maxAttempts}`), el("div", { class: "buttons" }, ...actions(task))),
    el("dl", { class: "facts" }, ...facts(task)),
    ...(task.error ? [el("p", { class: "callout" }, task.error)] : []),
    el("h3", {}, "Timeline"), el("ol", { class: "timeline" }, ...timeline(task.timeline), ...upcoming(task)),
    el("h3", {}, "Payload"), code(task.payload, "Payload"),
    ...(task.result === null ? [] : [el("h3", {}, "Result"), code(task.result, "Result")]),
    el("h3", {}, "Logs"), el("div", { class: "line" }, el("code", { id: "task-logs" }, logsOf(task)), el("button", { type: "button", "data-does": "copy", onclick: copyLogs }, "Copy")),
    ...(task.deadLetters.length ? [el("h3", {}, "Dead letters"), el("ol", { class: "timeline" }, ...task.deadLetters.map(letter))] : []),
  );
  if (held) (body.querySelector(`[data-does="${held}"]`) ?? $("task-id")).focus();
}

function unsettled(task) { // something is about to change
  return OPEN.has(task.status) || unrecorded(task);
}

function unrecorded(task) { // until its letter is written, a dead task cannot be replayed
  return task.status === "FAILED_FINAL" && !task.deadLetters.some(({ generation }) => generation === task.generation);
}

function actions(task) {
  return [...steering(task), el("button", { type: "button", "data-does": "again", onclick: () => openSubmit(task) }, "Run again")];
}

function steering(task) {
  if (OPEN.has(task.status)) return [el("button", { type: "button", class: "danger", "data-does": "cancel", onclick: () => cancel(task) }, "Cancel it")];
  if (unrecorded(task)) return [el("span", { class: "note" }, "its dead letter is being written")];
  if (task.status === "FAILED_FINAL") return [el("button", { type: "button", class: "primary", "data-does": "replay", onclick: () => replay([task]) }, "Replay")];
  return [];
}

function facts(task) {
  const pairs = [["Submitted", full(task.createdAt)], ["Last change", full(task.updatedAt)]];
  if (!OPEN.has(task.status)) pairs.push(["Took", span(Date.parse(task.updatedAt) - Date.parse(task.createdAt))]);
  return pairs.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", { class: "num" }, text)));
}

function timeline(entries) {
  const many = new Set(entries.map(({ generation }) => generation)).size > 1;
  let generation = null, before = null;
  return entries.flatMap((entry) => {
    const heads = many && entry.generation !== generation ? [el("li", { class: "gen" }, `Generation ${entry.generation}`)] : [];
    generation = entry.generation;
    const [name, tone] = named(entry.status);
    const took = before ? step(Date.parse(entry.at) - Date.parse(before)) : "";
    before = entry.at;
    const attempt = entry.attempt ? `attempt ${entry.attempt}` : "";
    return [...heads, el("li", { class: tone }, el("b", {}, name), el("small", {}, [when(entry.at), took, attempt].filter(Boolean).join(", ")), entry.error ? el("p", {}, entry.error) : null)];
  });
}

function upcoming({ status, nextAttemptAt }) { // what an open task waits for
  if (!nextAttemptAt || !OPEN.has(status) || status === "PROCESSING") return [];
  return [el("li", { class: "next" }, el("b", {}, "Next attempt"), el("small", {}, `${when(nextAttemptAt)}, `, el("span", { "data-until": nextAttemptAt }, until(nextAttemptAt))))];
}

function countDown() {
  for (const node of document.querySelectorAll("[data-until]")) say(node, until(node.dataset.until));
}

function logsOf({ taskId }) { // an id holds nothing that a shell would take for its own
  return `make logs TASK=${taskId}${location.hostname.endsWith(".amazonaws.com") ? " TARGET=aws" : ""}`;
}

async function copyLogs() {
  try {
    await navigator.clipboard.writeText($("task-logs").textContent);
    toast("Copied");
  } catch { // not allowed, or plain HTTP from elsewhere
    getSelection().selectAllChildren($("task-logs"));
    toast("Selected; copy it with the keyboard.");
  }
}

function letter(one) {
  return el("li", { class: "bad" }, el("b", {}, `Generation ${one.generation}`), el("small", {}, `${full(one.deadAt)}, ${plural(one.attempts, "attempt")}`), el("p", {}, one.error ?? ""));
}

function code(value, label) {
  return el("pre", { tabindex: "0", role: "region", "aria-label": label }, JSON.stringify(value, null, 2));
}

async function cancel({ taskId }) {
  if (!(await sure("Cancel this task?", "It ends here. A worker that is at it finds its last write refused.", "Cancel it"))) return;
  await told(async () => {
    await call("DELETE", taskPath(taskId));
    toast(`Cancelled ${taskId}`);
  });
}
