// The graph, from the cameras on the left to the sinks on the right: what each node does, and what waits on its edges.
import {Known, arrange, at, button, dress, make, number, say, write} from "./dom.js";
import {lost} from "./ledger.js";

const BAD = new Set(["failed", "hanging", "suspended", "stalled", "unauthorized", "forbidden", "not_found", "tls_failed", "restarting"]);
const WARN = new Set(["connecting", "retrying", "starting", "waiting", "paused"]);
export const OFF = new Set(["ended", "stopped", "draining"]);
const OLD_MS = 100; // a frame that waits for longer: its age is told
const FILTER_FROM = 24; // nodes: fewer are found by looking

let earlier = null; // the look before this one, for rates
let choose = () => {};

export function onChoice(act) {
  choose = act;
}

function columns(nodes, edges) {
  const depth = new Map(nodes.map((node) => [node.name, 0]));
  const between = edges.filter((edge) => depth.has(edge.from) && depth.has(edge.to));
  for (let turn = 0, moved = true; moved && turn < nodes.length; turn++) {
    moved = false;
    for (const {from, to} of between)
      if (depth.get(to) <= depth.get(from)) {
        depth.set(to, depth.get(from) + 1);
        moved = true;
      }
  }
  const made = [];
  for (const node of nodes) (made[Math.min(depth.get(node.name), nodes.length)] ??= []).push(node);
  return made.filter(Boolean);
}

const cards = new Known((name) => {
  const card = make("div", "node");
  card.dataset.node = name;
  const title = button(name, () => choose(name));
  title.className = "name";
  title.title = `log and orders of ${name}`;
  card.append(title, make("span", "kind"), make("span", "why"), make("div", "edges"));
  return card;
});

const lines = new Known((name) => {
  const line = make("div", "edge"), fill = make("div", "fill");
  line.dataset.edge = name;
  fill.append(make("i"));
  line.append(make("span"), fill);
  return line;
});

// A queue has its mark for each input of its producer: it may be full for one camera, and not for another.
const shareOf = (edge, inputs) => (inputs > 1 && edge.high_water_mark % inputs === 0 ? ` (${edge.high_water_mark / inputs} each)` : "");

function drawEdge(edge, inputs, seconds, culprits) {
  const name = `${edge.from} -> ${edge.to}`, line = lines.get(name), [words, fill] = line.children;
  const before = earlier?.edges.get(name), share = shareOf(edge, inputs);
  const rate = (count) => (before && seconds > 0 ? Math.max(0, (count(edge) - count(before)) / seconds) : 0);
  const told = [`→ ${edge.to}`, `${number(rate((one) => one.offered))}/s`];
  if (edge.high_water_mark) told.push(`queue ${edge.queued}/${edge.high_water_mark}${share}`);
  if (edge.oldest_ms >= OLD_MS) told.push(`oldest ${number(edge.oldest_ms / 1000)} s`);
  const losing = rate(lost);
  if (losing > 0) told.push(`loses ${number(losing)}/s`);
  if (edge.stalled) told.push("STALLED");
  say(words, told.join(" · "));
  dress(line, culprits.has(name) ? "edge culprit" : "edge");
  dress(fill, edge.high_water_mark && edge.queued >= edge.high_water_mark ? "fill full" : "fill");
  fill.firstChild.style.width = `${edge.high_water_mark ? Math.min(100, (100 * edge.queued) / edge.high_water_mark) : 0}%`;
  return line;
}

function mood(node, culprits) {
  if (BAD.has(node.state) || culprits.has(node.name)) return "bad";
  if (WARN.has(node.state)) return "warn";
  return OFF.has(node.state) ? "off" : "good";
}

function drawNode(node, edges, inputs, seconds, culprits) {
  const card = cards.get(node.name), [, kind, why, below] = card.children;
  dress(card, `node ${mood(node, culprits)}`);
  card.dataset.state = node.state;
  const several = node.max_replicas > 1 ? ` · ${node.replicas} of ${node.max_replicas} replicas` : "";
  say(kind, ` ${node.kind} · ${node.state}${several}${node.restarts ? ` · restarts ${node.restarts}` : ""}`);
  write(why, node.why || node.mode || (node.kind === "guest" ? "looks on: this page, or a program" : ""));
  arrange(below, edges.map((edge) => drawEdge(edge, inputs, seconds, culprits)));
  return card;
}

// What is typed above the graph leaves only nodes with that in name, kind or state; and their cameras.
export const wanted = (node) => {
  const text = at("filter").value.trim().toLowerCase();
  return !text || `${node.name} ${node.kind} ${node.state}`.toLowerCase().includes(text);
};

export function drawGraph(run) {
  const now = performance.now(), seconds = earlier ? (now - earlier.at) / 1000 : 0;
  const culprits = new Set(run.sickest.map((one) => one.culprit));
  const leaving = grouped(run.edges), entering = (node) => run.edges.filter((edge) => edge.to === node.name).length;
  at("filtering").hidden = run.nodes.length < FILTER_FROM && !at("filter").value;
  const shown = columns(run.nodes, run.edges).map((column) => column.filter(wanted)).filter((column) => column.length);
  const drawn = shown.map((column, place) => {
    const box = at("graph").children[place] ?? make("div");
    arrange(box, column.map((node) => drawNode(node, leaving.get(node.name) ?? [], node.kind === "buffer" ? entering(node) : 1, seconds, culprits)));
    return box;
  });
  arrange(at("graph"), drawn);
  cards.keep(run.nodes.map((node) => node.name));
  lines.keep(run.edges.map((edge) => `${edge.from} -> ${edge.to}`));
  earlier = {at: now, edges: new Map(run.edges.map((edge) => [`${edge.from} -> ${edge.to}`, edge]))};
}

function grouped(edges) {
  const found = new Map();
  for (const edge of edges) found.set(edge.from, [...(found.get(edge.from) ?? []), edge]);
  return found;
}
