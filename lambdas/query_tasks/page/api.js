"use strict";
// Calls to the API that served this page: the page's own address is its base, with or without the slash at the end.

const BASE = location.origin + location.pathname.replace(/\/*$/, "/");
const KEPT_AS = "api-key"; // for this tab, until it is closed
const TIMEOUT_MS = 15000;

class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
  get refused() { return this.status === 403; }
  get away() { return this.status === 0 || this.status === 429 || this.status >= 500; } // no answer, or none that counts
}

const key = {
  get: () => sessionStorage.getItem(KEPT_AS),
  set: (value) => sessionStorage.setItem(KEPT_AS, value),
  forget: () => sessionStorage.removeItem(KEPT_AS),
};

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function call(method, path, body) {
  const text = typeof body === "string" || body === undefined ? body : JSON.stringify(body);
  let answer, said;
  try {
    answer = await fetch(BASE + path, {
      method, body: text, cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: { "x-api-key": key.get() ?? "", ...(text === undefined ? {} : { "content-type": "application/json" }) },
    });
    said = await answer.text();
  } catch {
    throw new ApiError(0, "no_answer", "No answer came.");
  }
  let document = {};
  try {
    document = JSON.parse(said, exact);
  } catch {
    if (answer.ok) throw new ApiError(502, "no_json", "What answered is not the API.");
  }
  if (answer.ok) return document;
  throw new ApiError(answer.status, document.error?.code ?? "http_error", document.error?.message ?? document.message ?? `HTTP ${answer.status}`);
}

function exact(_, value, context) { // a number that JavaScript would round stays as it was written
  const rounded = typeof value === "number" && context?.source !== undefined && !Number.isSafeInteger(value) && String(value) !== context.source;
  return rounded && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

const taskPath = (id) => `tasks/${encodeURIComponent(id)}`;
