"use strict";
// The way of a task as a picture, with what is where right now.

const WIDE = {
  size: [1180, 276], node: [214, 96],
  at: { api: [2, 8], queue: [322, 8], workers: [644, 8], table: [964, 8], dlq: [322, 152], dead: [964, 152] },
  wires: {
    accept: "M216 56H314", deliver: "M536 56H636", finish: "M858 56H956",
    redrive: "M429 104V144", record: "M536 200H956", replay: "M1071 248V266H269V82H314",
  },
  words: { redrive: [441, 129, "after the last attempt"], record: [746, 191, "recorded, with its reason", "middle"], replay: [746, 260, "replay", "middle"] },
};
const NARROW = {
  size: [360, 344], node: [160, 96],
  at: { api: [2, 4], queue: [186, 4], table: [2, 122], workers: [186, 122], dead: [2, 240], dlq: [186, 240] },
  wires: {
    accept: "M162 52H178", deliver: "M266 100V114", finish: "M186 170H170",
    redrive: "M346 40H355V288H354", record: "M186 288H170",
  },
  words: {},
};
const NODES = { api: "API", queue: "Queue", workers: "Workers", table: "Table", dlq: "Dead-letter queue", dead: "Dead letters" };
const phone = matchMedia("(max-width: 720px)");
let picture = null;

function drawFlow() {
  const layout = phone.matches ? NARROW : WIDE;
  const parts = { nodes: {}, wires: {} };
  const [width, height] = layout.size;
  const image = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: phone.matches ? "narrow" : "wide" });
  image.append(svg("defs", {}, svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 5, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto", markerUnits: "userSpaceOnUse" },
    svg("path", { d: "M0 0L8 4L0 8z", class: "tip" }))));
  for (const [name, path] of Object.entries(layout.wires)) {
    parts.wires[name] = svg("path", { d: path, class: name === "replay" ? "wire back" : "wire", "marker-end": "url(#tip)" });
    image.append(parts.wires[name]);
  }
  for (const [x, y, text, anchor] of Object.values(layout.words)) {
    image.append(svg("text", { x, y, class: "wire-text", "text-anchor": anchor ?? "start" }, text));
  }
  for (const [name, [x, y]] of Object.entries(layout.at)) {
    parts.nodes[name] = drawNode(NODES[name], x, y, layout.node);
    image.append(parts.nodes[name].group);
  }
  $("flow").replaceChildren(image);
  picture = { image, ...parts };
}

function drawNode(name, x, y, [width, height]) {
  const [figure, what, sub] = [svg("text", { x: 16, y: 56, class: "figure" }, "–"), svg("tspan", { class: "what", dx: 7 }), svg("text", { x: 16, y: 80, class: "sub" })];
  const value = figure.firstChild;
  figure.append(what);
  const group = svg("g", { class: "node", transform: `translate(${x} ${y})` },
    svg("rect", { width, height, rx: 12 }), svg("text", { x: 16, y: 25, class: "name" }, name), figure, sub);
  return { group, value, what, sub };
}

function showFlow(stats) {
  if (!picture) drawFlow();
  const { counts, queue, deadLetterQueue: dlq } = stats;
  const last = lastMinute(stats);
  const dead = counts.FAILED_FINAL?.count > 0;
  const busy = counts.open?.count > 0;
  const figures = {
    api: [capped(counts.open), "open", stats.oldestOpenAt ? `the oldest ${span(now() - Date.parse(stats.oldestOpenAt))}` : "nothing to do"],
    queue: [count(queue.waiting), "waiting", phone.matches ? `${count(queue.inFlight)} in flight` : `${count(queue.inFlight)} in flight, ${count(queue.delayed)} delayed`],
    workers: [count(last.completed), "a minute", last.failed ? `${plural(last.failed, "attempt")} failed` : "no attempt failed"],
    table: [capped(counts.COMPLETED), "done", `${capped(counts.CANCELLED)} cancelled`],
    dlq: [count(dlq.waiting), "waiting", `${count(dlq.inFlight)} in flight`],
    dead: [capped(counts.FAILED_FINAL), "dead", dead ? "can be replayed" : "none"],
  };
  for (const [name, [value, what, sub]] of Object.entries(figures)) {
    const node = picture.nodes[name];
    say(node.value, value);
    say(node.what, what);
    say(node.sub, sub);
  }
  picture.nodes.queue.group.classList.toggle("hot", queue.waiting + queue.inFlight > 0);
  picture.nodes.workers.group.classList.toggle("hot", queue.inFlight > 0);
  picture.nodes.dead.group.classList.toggle("alarm", dead);
  for (const name of ["accept", "deliver", "finish"]) picture.wires[name].classList.toggle("moving", busy);
  for (const name of ["redrive", "record"]) picture.wires[name].classList.toggle("moving", dlq.waiting + dlq.inFlight > 0);
  const words = Object.entries(figures).map(([name, texts]) => `${NODES[name]}: ${texts.join(" ")}`);
  picture.image.setAttribute("aria-label", `${words.join("; ")}.`);
}

function lastMinute(stats) { // of the last whole minute or the one that runs, whichever did more
  const recent = stats.perMinute.filter(({ minute }) => Date.parse(stats.at) - Date.parse(minute) < 120000);
  const most = (name) => Math.max(0, ...recent.map((one) => one[name] ?? 0));
  return { completed: most("completed"), failed: most("failed") };
}
