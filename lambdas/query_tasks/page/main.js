"use strict";
// What is asked when, and what the address means: #tasks, #dead, #task=<id>, and once #key=<key>.

const BUSY_MS = 2000, IDLE_MS = 10000, AWAY_MS = [2000, 4000, 8000, 15000];
const TASK_ID = /^(?!\.{1,2}$)[A-Za-z0-9._:-]{1,128}$/; // no address can hold the two that are left out
const STATS_BUSY_MS = 5000, STATS_IDLE_MS = 30000; // it is the dearest question: its counts read the index

let view = "tasks", timer = null, running = false, again = false, failures = 0, stats = null, statsAt = -Infinity, turned = 0;

function takeKey() { // out of the address, before anything else can see it there
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.has("key")) return;
  key.set(given.get("key"));
  given.delete("key");
  const rest = given.toString().replace(/=$/, "");
  history.replaceState(null, "", location.pathname + location.search + (rest ? `#${rest}` : ""));
}

function route() {
  takeKey();
  const name = location.hash.slice(1);
  const id = new URLSearchParams(name).get("task");
  if (name === "dead" || name === "tasks" || !id) view = name === "dead" ? "dead" : "tasks";
  for (const each of ["tasks", "dead"]) {
    $(each).hidden = each !== view;
    if (each === view) $(`tab-${each}`).setAttribute("aria-current", "page");
    else $(`tab-${each}`).removeAttribute("aria-current");
  }
  if (!key.get()) { locked(false); return; }
  unlocked();
  if (id) openTask(id);
  else { closeTask(); kick(); }
}

function locked(refused) {
  if (refused) key.forget();
  turned += 1;
  clearTimeout(timer);
  for (const dialog of document.querySelectorAll("dialog[open]")) if (dialog.id !== "task") dialog.close();
  closeTask();
  stats = null;
  statsAt = -Infinity;
  $("away").hidden = true;
  $("gate").hidden = false;
  for (const id of ["board", "new", "footer"]) $(id).hidden = true;
  $("gate-why").classList.toggle("wrong", refused);
  say($("gate-why"), refused ? "The API does not take this key. Is it of another stack, or was it renewed?" : "This page shows nothing by itself: it asks the API, and the API asks for its key.");
  pulse("wait", refused ? "Wrong key" : "No key yet");
  $("gate-key").focus();
}

function unlocked() {
  if (!$("board").hidden) return;
  $("gate").hidden = true;
  for (const id of ["board", "new", "footer"]) $(id).hidden = false;
  drawFlow();
  tasks.reset();
  dead.reset();
  pulse("wait", "Asking");
}

function pulse(state, text) {
  $("pulse").dataset.state = state;
  say($("pulse-text"), text);
}

// Polling. ------------------------------------------------------------------------------------------------------------

function kick() { // look now, and go on from there
  clearTimeout(timer);
  if (running) again = true;
  else timer = setTimeout(tick, 0);
}

async function tick() {
  if (running || !key.get()) return;
  if (document.hidden) { pulse("paused", "Paused"); return; }
  const turn = turned;
  running = true;
  again = false;
  const list = view === "dead" ? dead : tasks;
  const asked = [loadStats(), ...(watched ? [loadTask()] : []), ...(watched && list.loaded ? [] : [list.load()])];
  const errors = (await Promise.allSettled(asked)).filter(({ status }) => status === "rejected").map(({ reason }) => reason);
  running = false;
  if (turn !== turned) { kick(); return; } // another key, meanwhile
  if (errors.some(({ refused }) => refused)) { locked(true); return; }
  const strange = errors.find(({ away }) => !away);
  const gone = errors.find(({ away }) => away);
  if (gone) missed(gone); else { answered(); if (strange) pulse("away", strange.message); }
  clearTimeout(timer);
  timer = setTimeout(tick, again ? 0 : pause());
}

function pause() {
  if (failures) return AWAY_MS[Math.min(failures, AWAY_MS.length) - 1];
  return (watched?.task ? unsettled(watched.task) : going()) ? BUSY_MS : IDLE_MS;
}

function going() {
  return stats?.counts.open?.count > 0 || tasks.shown.some(({ status }) => OPEN.has(status));
}

function missed({ status }) {
  failures += 1;
  const what = status === 0 ? "The API does not answer." : status === 429 ? "The API is asked too often (429)." : `The API cannot answer now (${status}).`;
  pulse("away", status === 429 ? "Slowed down" : "Away");
  say($("away-what"), what);
  say($("away-text"), `What you see is as of ${stats ? clock(stats.at) : "before"}. Asking again by itself.`);
  $("away").hidden = false;
  if (failures === 1) toast(what);
}

function answered() {
  if (failures) toast("The API answers again.");
  failures = 0;
  $("away").hidden = true;
  pulse("live", "Live");
}

async function loadStats() {
  if (performance.now() - statsAt < (going() ? STATS_BUSY_MS : STATS_IDLE_MS) && !failures) return;
  const started = performance.now();
  const turn = turned;
  const found = await call("GET", "stats");
  if (turn !== turned) return;
  statsAt = started;
  stats = found;
  clockOffset = Date.parse(stats.at) - Date.now();
  showStats();
}

function showStats() {
  for (const kind of stats.kinds ?? []) know(kind);
  showFlow(stats);
  showPlots(stats);
  const gone = stats.counts.FAILED_FINAL;
  $("dead-count").hidden = !gone?.count;
  say($("dead-count"), capped(gone));
  const oldest = stats.oldestOpenAt ? `, the oldest for ${span(now() - Date.parse(stats.oldestOpenAt))}` : "";
  say($("flow-note"), stats.counts.open?.count ? `${capped(stats.counts.open)} open${oldest}` : "At rest");
  say($("foot-at"), `As of ${clock(stats.at)}`);
  say($("foot-exact"), "Since when the oldest task is open is exact; all other numbers are close.");
}

// What the reader does. -----------------------------------------------------------------------------------------------

function patient(run) { // after the last of many keys
  let waiting = null;
  return () => { clearTimeout(waiting); waiting = setTimeout(run, 300); };
}

function findTask(event) {
  event.preventDefault();
  const id = $("find").value.trim();
  if (!id) { $("find").focus(); return; }
  if (!TASK_ID.test(id)) { toast("That is no task id: it has 1 to 128 of the characters A-Z a-z 0-9 . _ : -"); return; }
  $("find").value = "";
  location.hash = new URLSearchParams({ task: id });
}

function listen() {
  $("skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });
  $("gate-form").addEventListener("submit", (event) => {
    event.preventDefault();
    key.set($("gate-key").value.trim());
    $("gate-key").value = "";
    route();
  });
  $("forget").addEventListener("click", () => { key.forget(); locked(false); });
  $("new").addEventListener("click", () => openSubmit());
  $("find-form").addEventListener("submit", findTask);
  $("s-kind").addEventListener("change", chosenKind);
  $("pick-all").addEventListener("change", pickAll);
  $("submit-form").addEventListener("submit", submitTask);
  $("s-payload").addEventListener("input", () => { pendingId = null; checkPayload(); });
  for (const button of document.querySelectorAll("[data-payload]")) {
    button.addEventListener("click", () => {
      $("s-payload").value = JSON.stringify(JSON.parse(button.dataset.payload), null, 2);
      pendingId = null;
      checkPayload();
    });
  }
  for (const button of document.querySelectorAll("dialog .close, dialog .cancel")) {
    button.addEventListener("click", () => (button.id === "sure-no" ? answerSure?.(false) : button.closest("dialog").close()));
  }
  $("sure-yes").addEventListener("click", () => answerSure?.(true));
  $("sure").addEventListener("cancel", (event) => { event.preventDefault(); answerSure?.(false); });
  $("task").addEventListener("close", () => {
    if (!watched) return;
    watched = null;
    history.replaceState(null, "", `#${view}`); // no jump to the list: the focus goes back to where it was
    route();
  });
  for (const [id, list, filters] of [["task-filters", tasks, taskFilters], ["dead-filters", dead, deadFilters]]) {
    const form = $(id);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", patient(() => list.filter(filters())));
  }
  $("replay-selected").addEventListener("click", () => replay([...chosen.values()]));
  $("replay-all").addEventListener("click", replayMatching);
  for (const dialog of document.querySelectorAll("dialog")) { // a click beside it closes it, as Escape does
    dialog.addEventListener("click", (event) => { if (event.target === dialog && dialog.id !== "sure") dialog.close(); });
  }
  addEventListener("hashchange", route);
  document.addEventListener("visibilitychange", kick);
  addEventListener("online", kick);
  for (const [media] of LAYOUTS) media.addEventListener("change", () => { drawFlow(); if (stats) showStats(); });
  addEventListener("resize", patient(() => { if (stats) showPlots(stats); }));
}

$("f-status").append(...Object.entries(STATUSES).map(([value, [name]]) => el("option", { value }, name)));
listen();
setInterval(countDown, 1000);
route();
