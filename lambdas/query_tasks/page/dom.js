"use strict";
// Small means to build the page. Data becomes text nodes and attributes, never HTML.

const $ = (id) => document.getElementById(id);

function el(tag, attributes = {}, ...children) {
  return dressed(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function dressed(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function say(node, text) { // leaves the node alone when nothing changed: no flicker, no lost selection
  if (node.textContent !== text) node.textContent = text;
}

function toast(text) {
  const node = el("div", { class: "toast" }, text);
  $("toasts").append(node);
  setTimeout(() => node.remove(), 6000);
}

const STATUSES = {
  SUBMITTED: ["Submitted", "info"],
  PROCESSING: ["Processing", "info"],
  FAILED_PENDING: ["Will retry", "warn"],
  COMPLETED: ["Completed", "ok"],
  FAILED_FINAL: ["Dead", "bad"],
  CANCELLED: ["Cancelled", "off"],
};
const OPEN = new Set(["SUBMITTED", "PROCESSING", "FAILED_PENDING"]);

const named = (status) => STATUSES[status] ?? [status, "off"];

function badge(status) {
  const [name, tone] = named(status);
  return el("span", { class: `badge ${tone}` }, name);
}

const NUMBER = new Intl.NumberFormat("en");
const count = (value) => NUMBER.format(value ?? 0);
const capped = (counted) => (counted ? count(counted.count) + (counted.more ? "+" : "") : "–");
const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

let clockOffset = 0; // of the API's clock before this machine's
const now = () => Date.now() + clockOffset;

function span(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1).replace(/\.0$/, "")} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

function ago(iso) {
  if (!iso) return "–";
  const past = now() - Date.parse(iso);
  return past < 1500 ? "just now" : `${span(Math.floor(past / 1000) * 1000)} ago`;
}

function step(ms) { // between two entries of a timeline
  return ms < 90000 ? `+${(Math.max(0, ms) / 1000).toFixed(1)} s` : `+${span(ms)}`;
}

function until(iso) {
  const left = Date.parse(iso) - now();
  return left > 0 ? `in ${span(Math.ceil(left / 1000) * 1000)}` : "due";
}

const day = (date) => date.toLocaleDateString("en-GB");

function when(iso) { // the time, with the day unless that is today
  const [date, today] = [new Date(iso), new Date(now())];
  return day(date) === day(today) ? clock(iso) : full(iso);
}

const clock = (iso) => new Date(iso).toLocaleTimeString("en-GB", { hour12: false });
const full = (iso) => (iso ? new Date(iso).toLocaleString("en-GB", { hour12: false }) : "–");

function newId() { // crypto.randomUUID is missing on plain HTTP
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
