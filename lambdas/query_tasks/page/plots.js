"use strict";
// The last hour, minute by minute; of a shorter history the last quarter.

const [HOUR, QUARTER] = [60, 15]; // minutes
const WIDEST = 22; // of a bar
const [LEFT, TOP, BOTTOM] = [44, 8, 20];

function showPlots(stats) {
  const end = Math.floor(Date.parse(stats.at) / 60000);
  const minutes = stats.perMinute
    .map((one) => ({ ...one, back: end - Math.floor(Date.parse(one.minute) / 60000) }))
    .filter(({ back }) => back >= 0 && back < HOUR)
    .sort((one, other) => other.back - one.back);
  const shown = minutes.length && minutes[0].back < QUARTER ? QUARTER : HOUR;
  plot($("rate"), shown, minutes, rateSummary(minutes), bars, Math.max(4, ...minutes.map(whole)), count);
  plot($("latency"), shown, minutes, latencySummary(minutes), lines, Math.max(100, ...minutes.map(({ p95Ms }) => p95Ms ?? 0)), span);
}

const whole = (one) => one.completed + one.failed + one.dead;

function rateSummary(minutes) {
  const sum = (name) => count(minutes.reduce((total, one) => total + one[name], 0));
  return `In the last hour: ${sum("completed")} completed, ${sum("failed")} attempts failed, ${sum("dead")} dead.`;
}

function latencySummary(minutes) {
  const last = minutes.filter(({ p50Ms }) => p50Ms !== null && p50Ms !== undefined).at(-1);
  return last ? `From submit to end at ${clock(last.minute).slice(0, 5)}: p50 about ${span(last.p50Ms)}, p95 about ${span(last.p95Ms)}.` : "No task has ended in the last hour.";
}

function plot(frame, shown, minutes, summary, draw, most, unit) {
  const [width, height] = [frame.clientWidth || 480, frame.clientHeight || 160];
  const seen = JSON.stringify([shown, minutes, width, height]);
  if (frame.dataset.seen === seen) return;
  frame.dataset.seen = seen;
  const top = ceiling(most);
  const x = (back) => LEFT + (width - LEFT) * (1 - (back + 0.5) / shown);
  const y = (value) => TOP + (height - TOP - BOTTOM) * (1 - value / top);
  const image = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": summary });
  for (const value of [0, top / 2, top]) {
    image.append(svg("line", { class: "grid", x1: LEFT, x2: width, y1: y(value), y2: y(value) }));
    if (unit !== count || Number.isInteger(value)) image.append(svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, value ? unit(value) : "0"));
  }
  const ticks = (shown === HOUR ? [45, 30, 15] : [10, 5]).map((back) => [LEFT + (width - LEFT) * (1 - back / shown), String(back), "middle"]);
  for (const [at, text, anchor] of [[LEFT, `${shown} min ago`, "start"], ...ticks, [width, "now", "end"]]) {
    image.append(svg("text", { x: at, y: height - 4, "text-anchor": anchor }, text));
  }
  if (minutes.length) image.append(...draw(minutes, x, y, (width - LEFT) / shown));
  else image.append(svg("text", { x: (width + LEFT) / 2, y: height / 2 - 12, "text-anchor": "middle" }, "Nothing in the last hour"));
  frame.replaceChildren(image);
}

function ceiling(value) { // a round number, not far above
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value) ?? value;
}

function bars(minutes, x, y, step) {
  return minutes.flatMap((one) => {
    let below = 0;
    const told = `${clock(one.minute).slice(0, 5)}: ${count(one.completed)} completed, ${count(one.failed)} failed attempts, ${count(one.dead)} dead`;
    return [["completed", "ok"], ["failed", "warn"], ["dead", "bad"]].filter(([name]) => one[name] > 0).map(([name, tone]) => {
      const [from, to] = [y(below), y(below + one[name])];
      below += one[name];
      const width = Math.min(WIDEST, Math.max(2, step * 0.72));
      return svg("rect", { class: `bar ${tone}`, x: x(one.back) - width / 2, y: to, width, height: Math.max(1, from - to - 0.5), rx: Math.min(1.5, width / 2) }, svg("title", {}, told));
    });
  });
}

function lines(minutes, x, y) {
  return ["p95", "p50"].flatMap((name) => {
    const points = minutes.filter((one) => one[`${name}Ms`] !== null && one[`${name}Ms`] !== undefined).map((one) => [x(one.back), y(one[`${name}Ms`]), one]);
    const path = points.map(([px, py], number) => `${number && points[number - 1][2].back - points[number][2].back <= 3 ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
    const dots = points.map(([cx, cy, one]) => svg("circle", { class: `point ${name}`, cx, cy, r: 2.6 }, svg("title", {}, `${clock(one.minute).slice(0, 5)}: ${name} about ${span(one[`${name}Ms`])}`)));
    return [svg("path", { class: `line ${name}`, d: path }), ...dots];
  });
}
