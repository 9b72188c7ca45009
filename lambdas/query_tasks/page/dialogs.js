"use strict";
// What asks: the form for a new task, "are you sure?", and the replay of many.

const BATCH = 100;
const MOST_COUNTED = 10000;

let pendingId = null; // of a submit whose outcome is unknown: the same id again makes no second task

function openSubmit(task = null) { // empty as it was left, or as `task` was submitted
  offer(task?.kind ?? (kinds.has($("s-kind").value) ? $("s-kind").value : ""));
  if (task) {
    pendingId = null;
    $("s-id").value = "";
    $("s-payload").value = JSON.stringify(task.payload, null, 2);
  }
  say($("s-problem"), "");
  checkPayload();
  $("submit").showModal();
  $("s-payload").focus();
}

function offer(kind) {
  const known = kinds.size ? [...kinds].sort() : ["simulated"]; // what the API takes where none is named
  const all = kind && !known.includes(kind) ? [kind, ...known] : known;
  $("s-kind").replaceChildren(...all.map((value) => el("option", { value }, value)));
  $("s-kind").value = kind || (all.includes("simulated") ? "simulated" : all[0]);
  chosenKind();
}

function chosenKind() {
  $("s-examples").hidden = $("s-kind").value !== "simulated"; // they are of that kind
}

function checkPayload() {
  const [check, text] = [$("s-check"), $("s-payload").value];
  let problem = "";
  try {
    const value = JSON.parse(text);
    if (value === null || typeof value !== "object" || Array.isArray(value)) problem = "It must be an object: { … }";
  } catch (error) {
    problem = error.message;
  }
  check.classList.toggle("wrong", problem !== "");
  $("s-payload").setAttribute("aria-invalid", problem !== "");
  say(check, problem || `Valid JSON, ${plural(new Blob([text]).size, "byte")}`);
  return problem === "";
}

async function submitTask(event) {
  event.preventDefault();
  if (!checkPayload()) { $("s-payload").focus(); return; }
  const id = $("s-id").value.trim() || (pendingId ??= newId());
  const head = JSON.stringify({ taskId: id, kind: $("s-kind").value || undefined });
  $("s-send").disabled = true;
  say($("s-problem"), "");
  try {
    await call("POST", "tasks", `${head.slice(0, -1)},"payload":${$("s-payload").value}}`); // the payload as it was typed
    pendingId = null;
    $("s-id").value = "";
    $("submit").close();
    toast(`Submitted ${id}`);
    location.hash = new URLSearchParams({ task: id });
    statsAt = -Infinity;
    kick();
  } catch (error) {
    if (error.refused) { $("submit").close(); locked(true); }
    say($("s-problem"), error.away ? `${error.message} Whether it was taken is not known; submitting again is safe.` : error.message);
    if (!error.away) pendingId = null;
  }
  $("s-send").disabled = false;
}

let answerSure = null;

function sure(title, text, yes) { // a promise of true or false; leaves the dialog open for progress when `work` follows
  answerSure?.(false); // an older question goes unanswered
  say($("sure-title"), title);
  say($("sure-text"), text);
  say($("sure-yes"), yes);
  say($("sure-no"), "Back");
  $("sure-yes").hidden = false;
  $("sure-progress").hidden = true;
  if (!$("sure").open) $("sure").showModal();
  $("sure-yes").focus();
  return new Promise((resolve) => {
    answerSure = (answer) => {
      answerSure = null;
      if ($("sure").open) $("sure").close();
      resolve(answer);
    };
  });
}

function progress(title) { // returns { step(text, done, of), over(), stopped }
  const state = { stopped: false };
  say($("sure-title"), title);
  say($("sure-text"), "");
  say($("sure-no"), "Stop");
  $("sure-yes").hidden = true;
  $("sure-progress").hidden = false;
  $("sure-progress").removeAttribute("value");
  if (!$("sure").open) $("sure").showModal();
  answerSure = () => { state.stopped = true; };
  state.step = (text, done, of) => {
    say($("sure-text"), text);
    if (of) Object.assign($("sure-progress"), { max: of, value: done });
  };
  state.over = () => { answerSure = null; $("sure").close(); };
  return state;
}

async function replay(letters) {
  const what = letters.length === 1 ? `${letters[0].taskId} gets` : `${plural(letters.length, "task")} get`;
  const asked = await sure(letters.length === 1 ? "Replay this task?" : `Replay ${plural(letters.length, "task")}?`, `${what} a new generation, with all attempts anew.`, "Replay");
  if (asked) await told(() => replayNow(letters));
}

async function replayMatching() {
  await told(async () => {
    const filters = deadFilters();
    const [found, more] = await findMatching(filters);
    if (!found) return;
    if (!found.length) { toast("No dead letter matches."); return; }
    const filtered = Object.values(filters).some(Boolean);
    const all = filtered ? "These match the filters." : "That is every dead task.";
    const which = more ? `There are more that ${filtered ? "match the filters" : "are dead"}: only the newest ${count(found.length)} were counted. Replay them, then do the same again.` : all;
    const asked = await sure(more ? `Replay the newest ${count(found.length)} tasks?` : `Replay ${plural(found.length, "task")}?`, `${which} Nothing has been replayed so far. Each gets a new generation, with all attempts anew.`, `Replay ${count(found.length)}`);
    if (asked) await replayNow(found);
  });
}

async function findMatching(filters) { // the dry run: counts, changes nothing. What was found, and whether there is more
  const counting = progress("Counting what matches");
  const found = [];
  let cursor = null;
  try {
    do {
      const page = await call("GET", `dead-letters${query({ ...filters, limit: BATCH, cursor })}`);
      found.push(...page.deadLetters);
      cursor = page.cursor;
      counting.step(`${count(found.length)} so far`);
    } while (cursor && !counting.stopped && found.length < MOST_COUNTED);
  } finally {
    counting.over();
  }
  return [counting.stopped ? null : found, cursor !== null];
}

async function replayNow(letters) {
  const running = progress("Replaying");
  const outcome = { done: 0, refused: [] };
  try {
    for (let from = 0; from < letters.length && !running.stopped; from += BATCH) {
      running.step(`${count(from)} of ${count(letters.length)}`, from, letters.length);
      const batch = letters.slice(from, from + BATCH).map(({ taskId, generation }) => ({ taskId, generation }));
      const results = batch.length === 1 ? [await replayOne(batch[0])] : (await call("POST", "dead-letters/redrive", { tasks: batch })).results;
      for (const one of results) {
        if (one.status < 300) { outcome.done += 1; chosen.delete(one.taskId); } else outcome.refused.push(one);
      }
    }
  } finally {
    running.over();
    countChosen();
    kick();
  }
  const said = [`Replayed ${plural(outcome.done, "task")}`];
  if (outcome.refused.length) said.push(`${count(outcome.refused.length)} refused: ${outcome.refused[0].error?.message ?? outcome.refused[0].status}`);
  toast(`${said.join("; ")}.`);
}

async function replayOne({ taskId, generation }) {
  try {
    await call("POST", `${taskPath(taskId)}/redrive`, { generation });
    return { taskId, status: 202 };
  } catch (error) {
    if (error.away || error.refused) throw error;
    return { taskId, status: error.status, error };
  }
}

async function told(work) { // what went wrong is said, and nothing else breaks
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.refused) locked(true);
    else toast(error.away ? "The API did not answer. Doing it again is safe." : error.message);
  }
  statsAt = -Infinity; // they are others now
  kick();
}
