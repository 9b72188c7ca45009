"use strict";
// The two lists. A row that is there already is changed in place, so that focus and selection stay where they are.

class List {
  constructor({ name, path, items, id, columns, caption, empty }) {
    Object.assign(this, { path, items, id, columns, caption, empty });
    this.frame = $(`${name}-frame`);
    this.newest = $(`${name}-newest`);
    this.newer = $(`${name}-newer`);
    this.older = $(`${name}-older`);
    this.place = $(`${name}-page`);
    this.filters = {};
    this.rows = new Map();
    this.shown = [];
    this.newest.addEventListener("click", () => this.go([null]));
    this.newer.addEventListener("click", () => this.go(this.cursors.slice(0, -1)));
    this.older.addEventListener("click", () => { if (this.next) this.go([...this.cursors, this.next]); });
    this.reset();
  }

  reset() {
    Object.assign(this, { cursors: [null], next: null, asked: (this.asked ?? 0) + 1 }); // of each page up to this one
    this.wait();
  }

  get page() { return this.cursors.length; }

  filter(filters) {
    this.filters = filters;
    this.reset();
    kick();
  }

  go(cursors) {
    if (!cursors.length) return;
    Object.assign(this, { cursors, next: null, asked: this.asked + 1 }); // the next page is known once this one is here
    this.wait();
    this.frame.scrollIntoView({ block: "nearest" });
    kick();
  }

  async load() {
    const asked = this.asked;
    let answer;
    try {
      answer = await call("GET", this.path + query({ ...this.filters, limit: 20, cursor: this.cursors.at(-1) }));
    } catch (error) {
      if (asked === this.asked && !this.loaded) this.trouble(error);
      throw error;
    }
    if (asked !== this.asked) return; // for other filters or another page
    this.next = answer.cursor;
    this.show(answer[this.items]);
  }

  wait() {
    this.rows.clear();
    this.shown = [];
    this.table = null;
    this.loaded = false;
    this.frame.setAttribute("aria-busy", "true");
    this.frame.replaceChildren(el("div", { class: "bones" }, ...Array.from({ length: 4 }, () => el("i"))));
    this.turn();
    this.onshow?.();
  }

  trouble(error) { // there is nothing older to go on showing
    this.frame.setAttribute("aria-busy", "false");
    this.frame.replaceChildren(nothing("!", "The list could not be read", error.away ? `${error.message.replace(/\.?$/, ".")} It is asked for again by itself.` : error.message));
  }

  show(items) {
    this.shown = items;
    for (const { kind } of items) know(kind);
    this.loaded = true;
    this.frame.setAttribute("aria-busy", "false");
    if (items.length) this.fill(items);
    else {
      this.rows.clear();
      this.table = null;
      this.frame.replaceChildren(this.empty(Object.values(this.filters).some(Boolean), this.page));
    }
    this.turn();
    this.onshow?.();
  }

  fill(items) {
    if (!this.table) {
      this.table = el("tbody");
      const heads = this.columns.map(({ name, title, head }) => el("th", { class: `c-${name}`, scope: "col" }, head ?? title));
      this.frame.replaceChildren(el("table", { "aria-label": this.caption }, el("thead", {}, el("tr", {}, ...heads)), this.table));
    }
    const kept = new Set(items.map(this.id));
    for (const [id, row] of this.rows) if (!kept.has(id)) { row.remove(); this.rows.delete(id); }
    let place = this.table.firstChild;
    for (const item of items) {
      const row = this.row(item);
      if (row === place) place = row.nextSibling;
      else this.table.insertBefore(row, place);
    }
  }

  row(item) {
    let row = this.rows.get(this.id(item));
    if (!row) {
      row = el("tr", {}, ...this.columns.map(({ name }) => el("td", { class: `c-${name}` })));
      this.rows.set(this.id(item), row);
    }
    this.columns.forEach(({ text, make, tip }, number) => {
      const cell = row.children[number];
      const seen = text(item);
      if (cell.dataset.seen === seen) return;
      cell.dataset.seen = seen;
      cell.replaceChildren(make ? make(item) : seen);
      if (tip) cell.title = tip(item) ?? "";
    });
    return row;
  }

  turn() {
    if (this.loaded) { // until then they keep the focus, and do nothing
      this.newest.disabled = this.newer.disabled = this.page === 1;
      this.older.disabled = !this.next;
    }
    say(this.place, `Page ${this.page}`);
  }
}

function nothing(glyph, title, text, button) {
  return el("div", { class: "empty" }, el("div", { class: "glyph", "aria-hidden": "true" }, glyph), el("strong", {}, title), el("span", {}, text), button ?? null);
}

const kinds = new Set(); // those of the deployment, and those seen on tasks that it has no more

function know(kind) {
  if (!kind || kinds.has(kind)) return;
  kinds.add(kind);
  $("kinds").replaceChildren(...[...kinds].sort().map((value) => el("option", { value })));
  if ($("submit").open) offer($("s-kind").value);
}

const link = ({ taskId }) => el("a", { class: "id", href: `#${new URLSearchParams({ task: taskId })}`, title: taskId }, taskId);

const tasks = new List({
  name: "tasks", path: "tasks", items: "tasks", id: ({ taskId }) => taskId, caption: "Tasks, newest first",
  columns: [
    { name: "status", title: "Status", text: ({ status }) => status, make: ({ status }) => badge(status) },
    { name: "id", title: "Task", text: ({ taskId }) => taskId, make: link },
    { name: "kind", title: "Kind", text: ({ kind }) => kind },
    { name: "attempts", title: "Attempts", text: ({ attempts, maxAttempts }) => `${attempts} of ${maxAttempts}`, make: ({ attempts, maxAttempts }) => el("span", { class: "num" }, `${attempts} of ${maxAttempts}`) },
    { name: "created", title: "Submitted", text: ({ createdAt }) => ago(createdAt), tip: ({ createdAt }) => full(createdAt) },
    { name: "error", title: "Error", text: ({ error }) => error ?? "", tip: ({ error }) => error },
  ],
  empty: (filtered, page) => {
    if (page > 1) return nothing("✓", "No more on this page", "Older tasks may follow; tasks may have moved meanwhile.");
    if (filtered) return nothing("∅", "No task matches", "Other filters may find some.", el("button", { type: "button", onclick: clearTaskFilters }, "Clear the filters"));
    return nothing("+", "No tasks yet", "Submit the first one and watch it go.", el("button", { type: "button", class: "primary", onclick: () => openSubmit() }, "New task"));
  },
});

const chosen = new Map(); // taskId -> dead letter

const dead = new List({
  name: "dead", path: "dead-letters", items: "deadLetters", id: ({ taskId }) => taskId, caption: "Dead letters, newest task first",
  columns: [
    { name: "pick", title: "Pick", head: el("span", { class: "unseen" }, "Pick"), text: ({ taskId }) => taskId, make: pick },
    { name: "id", title: "Task", text: ({ taskId }) => taskId, make: link },
    { name: "kind", title: "Kind", text: ({ kind }) => kind },
    { name: "attempts", title: "Attempts", text: ({ attempts }) => String(attempts) },
    { name: "dead", title: "Died", text: ({ deadAt }) => ago(deadAt), tip: ({ deadAt }) => full(deadAt) },
    { name: "error", title: "Reason", text: ({ errorClass, error }) => [errorClass, error].filter(Boolean).join(": "), tip: ({ error }) => error },
    { name: "do", title: "", head: el("span", { class: "unseen" }, "Action"), text: ({ generation }) => `replay ${generation}`, make: (letter) => el("button", { type: "button", "aria-label": `Replay ${letter.taskId}`, onclick: () => replay([letter]) }, "Replay") },
  ],
  empty: (filtered, page) => {
    if (page > 1) return nothing("✓", "No more on this page", "Older letters may follow.");
    if (filtered) return nothing("∅", "No dead letter matches", "Other filters may find some.");
    return nothing("✓", "Nothing is dead", "Tasks that fail for good appear here, with their reason.");
  },
});
dead.onshow = countChosen;

function pick(letter) {
  const box = el("input", { type: "checkbox", "aria-label": `Select ${letter.taskId}` });
  box.checked = chosen.has(letter.taskId);
  box.addEventListener("change", () => {
    if (box.checked) chosen.set(letter.taskId, letter);
    else chosen.delete(letter.taskId);
    countChosen();
  });
  return box;
}

function pickAll({ target }) {
  for (const letter of dead.shown) {
    if (target.checked) chosen.set(letter.taskId, letter);
    else chosen.delete(letter.taskId);
    dead.rows.get(letter.taskId).querySelector("input").checked = target.checked;
  }
  countChosen();
}

function countChosen() {
  $("replay-selected").disabled = chosen.size === 0;
  say($("replay-selected"), chosen.size ? `Replay selected (${chosen.size})` : "Replay selected");
  const all = $("pick-all");
  all.disabled = dead.shown.length === 0;
  all.checked = dead.shown.length > 0 && dead.shown.every(({ taskId }) => chosen.has(taskId));
}

function deadFilters() {
  const within = Number($("d-within").value);
  return { kind: $("d-kind").value.trim(), error: $("d-error").value.trim(), from: within ? new Date(now() - within * 1000).toISOString() : "" };
}

function clearTaskFilters() {
  $("f-status").value = $("f-kind").value = "";
  tasks.filter(taskFilters());
}

const taskFilters = () => ({ status: $("f-status").value, kind: $("f-kind").value.trim() });
