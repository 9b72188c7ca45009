"use strict";
// The way of a task as a picture, with what is where right now.

const WIDE = {
  size: [1180, 160], node: [168, 104],
  at: { api: [1, 28], queue: [203, 28], workers: [405, 28], table: [607, 28], dlq: [809, 28], dead: [1011, 28] },
  wires: {
    accept: "M169 80H195", deliver: "M371 80H397", finish: "M573 80H599", record: "M977 80H1003",
    redrive: "M287 132V152H893V140", replay: "M1095 28V9H287V20",
  },
  words: { redrive: [590, 147, "after the last attempt"], replay: [691, 22, "replay"] },
};
const MEDIUM = {
  size: [600, 256], node: [176, 104],
  at: { api: [1, 1], queue: [212, 1], workers: [423, 1], dead: [1, 151], dlq: [212, 151], table: [423, 151] },
  wires: {
    accept: "M177 53H204", deliver: "M388 53H415", finish: "M511 105V143", record: "M212 203H185",
    redrive: "M330 105V143", replay: "M89 151V128H270V113",
  },
  words: { redrive: [394, 132, "after the last attempt"], replay: [180, 123, "replay"] },
};
const NARROW = {
  size: [360, 368], node: [160, 104],
  at: { api: [2, 4], queue: [186, 4], table: [2, 130], workers: [186, 130], dead: [2, 256], dlq: [186, 256] },
  wires: {
    accept: "M162 56H178", deliver: "M266 108V122", finish: "M186 182H170",
    redrive: "M346 44H355V308H354", record: "M186 308H170",
  },
  words: {},
};
const LAYOUTS = [[matchMedia("(max-width: 720px)"), NARROW, "narrow"], [matchMedia("(max-width: 1000px)"), MEDIUM, "medium"], [matchMedia("all"), WIDE, "wide"]];
const NODES = { api: "API", queue: "Queue", workers: "Workers", table: "Table", dlq: "Dead-letter queue", dead: "Dead letters" };
let picture = null;

function drawFlow() {
  const [, layout, name] = LAYOUTS.find(([media]) => media.matches);
  const parts = { nodes: {}, wires: {} };
  const [width, height] = layout.size;
  const image = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: name, "aria-label": "The way of a task; its numbers are on their way." });
  image.append(svg("defs", {}, svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 5, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto", markerUnits: "userSpaceOnUse" },
    svg("path", { d: "M0 0L8 4L0 8z", class: "tip" }))));
  for (const [name, path] of Object.entries(layout.wires)) {
    parts.wires[name] = svg("path", { d: path, class: name === "replay" ? "wire back" : "wire", "marker-end": "url(#tip)" });
    image.append(parts.wires[name]);
  }
  for (const [x, y, text] of Object.values(layout.words)) {
    image.append(svg("text", { x, y, class: "wire-text", "text-anchor": "middle" }, text));
  }
  for (const [name, [x, y]] of Object.entries(layout.at)) {
    parts.nodes[name] = drawNode(NODES[name], x, y, layout.node);
    image.append(parts.nodes[name].group);
  }
  $("flow").replaceChildren(image);
  picture = { image, ...parts };
}

function drawNode(name, x, y, [width, height]) {
  const line = (y) => svg("text", { x: 14, y, class: "sub" });
  const [figure, what, lines] = [svg("text", { x: 14, y: 53, class: "figure" }, "–"), svg("tspan", { class: "what", dx: 6 }), [line(74), line(91)]];
  const value = figure.firstChild;
  figure.append(what);
  const group = svg("g", { class: "node", transform: `translate(${x} ${y})` },
    svg("rect", { width, height, rx: 12 }), svg("text", { x: 14, y: 24, class: "name" }, name), figure, ...lines);
  return { group, value, what, lines };
}

function showFlow(stats) {
  if (!picture) drawFlow();
  const { counts, queue, deadLetterQueue: dlq } = stats;
  const last = lastMinute(stats);
  const dead = counts.FAILED_FINAL?.count > 0;
  const busy = counts.open?.count > 0;
  const figures = {
    api: ["", "POST /tasks", "stores each task,", "then queues it"],
    // SQS counts a message that is hidden until its next attempt as one in flight.
    queue: [count(queue.waiting), "waiting", `${count(queue.inFlight)} in flight${queue.delayed ? `, ${count(queue.delayed)} delayed` : ""}`, "or backing off"],
    workers: [count(last.completed), "a minute", "completed;", last.failed ? `${plural(last.failed, "attempt")} failed` : "no attempt failed"],
    table: [capped(counts.COMPLETED), "done", `${capped(counts.open)} open`, `${capped(counts.CANCELLED)} cancelled`],
    dlq: [count(dlq.waiting), "waiting", `${count(dlq.inFlight)} being recorded`, ""],
    dead: [capped(counts.FAILED_FINAL), "dead", dead ? "can be replayed" : "none", ""],
  };
  for (const [name, [value, what, ...lines]] of Object.entries(figures)) {
    const node = picture.nodes[name];
    say(node.value, value);
    say(node.what, what);
    node.what.setAttribute("dx", value ? 6 : 0);
    node.lines.forEach((line, number) => say(line, lines[number]));
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
