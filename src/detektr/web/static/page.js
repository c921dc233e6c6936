// The page of one pipeline: what `/pipeline` says, once a second. Nothing that comes from a run is ever markup.
const LOOK_MS = 1000, LOGS_MS = 5000, EVENTS_MAX = 200, LOG_LINES = 200;
const ASKED_FOR = new Set(["thinned", "filtered", "absent"]);  // the file asks for these: they are no losses
const BAD = new Set(["failed", "hanging", "suspended", "stalled", "unauthorized", "forbidden", "not_found", "tls_failed", "restarting"]);
const WARN = new Set(["connecting", "retrying", "starting", "waiting"]);
const OFF = new Set(["ended", "stopped", "draining"]);
const at = (id) => document.getElementById(id);

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// What stands between backticks is code: a key of the file, or a command.
function written(tag, className, text) {
  const made = make(tag, className);
  text.split("`").forEach((part, place) => made.append(place % 2 ? make("code", "", part) : part));
  return made;
}

const sum = (counts) => Object.values(counts ?? {}).reduce((total, count) => total + count, 0);
const clock = (utc) => (utc ? new Date(utc).toLocaleTimeString() : "");
const number = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/\.0+$/, "");

// -- what is asked -------------------------------------------------------------------------------------------------

let name = decodeURIComponent(location.hash.slice(1));
let isKnown = false;  // whether the server takes us for who knows the token
const path = (rest) => (name ? `/pipelines/${encodeURIComponent(name)}${rest}` : rest);

async function ask(rest, options) {
  const answer = await fetch(path(rest), {cache: "no-store", ...options});
  const isJson = (answer.headers.get("Content-Type") ?? "").includes("json");
  const body = isJson ? await answer.json() : await answer.text();
  return {status: answer.status, body};
}

// -- the graph -----------------------------------------------------------------------------------------------------

function columns(nodes, edges) {
  const depth = new Map(nodes.map((node) => [node.name, 0]));
  for (let turn = 0; turn < nodes.length; turn++)
    for (const edge of edges)
      if (depth.has(edge.to) && depth.has(edge.from)) depth.set(edge.to, Math.max(depth.get(edge.to), depth.get(edge.from) + 1));
  const made = [];
  for (const node of nodes) (made[Math.min(depth.get(node.name), nodes.length)] ??= []).push(node);
  return made.filter(Boolean);
}

let before = null;  // the last look, for rates

function rate(edge, count, seconds) {
  const earlier = before?.edges.get(`${edge.from}>${edge.to}`);
  return earlier && seconds > 0 ? Math.max(0, (count(edge) - count(earlier)) / seconds) : 0;
}

const lost = (edge) => sum(edge.dropped) - sum(Object.fromEntries(Object.entries(edge.dropped ?? {}).filter(([why]) => ASKED_FOR.has(why)))) + edge.dead_lettered;

function edgeLine(edge, seconds, culprits) {
  const line = make("div", culprits.has(`${edge.from} -> ${edge.to}`) ? "edge culprit" : "edge");
  const losing = rate(edge, lost, seconds);
  const words = [`→ ${edge.to}`, `${number(rate(edge, (one) => one.offered, seconds))}/s`, `queue ${edge.queued}/${edge.high_water_mark}`];
  if (losing > 0) words.push(`loses ${number(losing)}/s`);
  if (edge.stalled) words.push("STALLED");
  line.textContent = words.join(" · ");
  const fill = make("div", edge.queued >= edge.high_water_mark && edge.high_water_mark ? "fill full" : "fill");
  const part = make("i");
  part.style.width = `${edge.high_water_mark ? Math.min(100, (100 * edge.queued) / edge.high_water_mark) : 0}%`;
  fill.append(part);
  line.append(fill);
  return line;
}

function drawGraph(run, seconds) {
  const culprits = new Set(run.sickest.map((one) => one.culprit));
  const drawn = columns(run.nodes, run.edges).map((column) => {
    const box = make("div");
    for (const node of column) {
      const mood = BAD.has(node.state) || culprits.has(node.name) ? "bad" : WARN.has(node.state) ? "warn" : OFF.has(node.state) ? "off" : "good";
      const card = make("div", `node ${mood}`);
      card.dataset.node = node.name;
      card.dataset.state = node.state;
      const restarts = node.restarts ? ` · restarts ${node.restarts}` : "";
      card.append(make("b", "", node.name), make("span", "kind", ` ${node.kind} · ${node.state}${restarts}`));
      if (node.why || node.mode) card.append(make("span", "why", node.why || node.mode));
      for (const edge of run.edges.filter((one) => one.from === node.name)) card.append(edgeLine(edge, seconds, culprits));
      box.append(card);
    }
    return box;
  });
  at("graph").replaceChildren(...drawn);
}

// -- the ledger ----------------------------------------------------------------------------------------------------

function drawLedger(edges) {
  at("ledger").replaceChildren(...edges.map((edge) => {
    const asked = sum(Object.fromEntries(Object.entries(edge.dropped ?? {}).filter(([why]) => ASKED_FOR.has(why))));
    const terms = [
      ["delivered", edge.delivered, "delivered"], ["dropped", sum(edge.dropped) - asked, "dropped"],
      ["asked", asked, "left out as asked"], ["dead", edge.dead_lettered, "dead-lettered"],
      ["queued", edge.queued, "queued"], ["flight", edge.in_flight, "in flight"],
    ];
    const total = terms.reduce((all, [, count]) => all + count, 0);
    const row = make("div", "row"), bar = make("div", "bar");
    row.dataset.edge = `${edge.from} -> ${edge.to}`;
    for (const [kind, count] of terms) {
      if (!count) continue;
      const part = make("i", kind);
      part.style.width = `${(100 * count) / Math.max(1, edge.offered)}%`;
      bar.append(part);
    }
    const words = terms.filter(([, count]) => count).map(([, count, what]) => `${count} ${what}`).join(" + ") || "nothing yet";
    const whys = Object.entries(edge.dropped ?? {}).map(([why, count]) => `${why} ${count}`).join(", ");
    const missing = edge.offered - total;
    const text = `${edge.from} → ${edge.to}: ${edge.offered} offered = ${words}${whys ? ` (${whys})` : ""}${missing ? ` — ${missing} ARE MISSING: a defect` : ""}`;
    row.append(make("div", "sum", text), bar);
    return row;
  }));
}

function drawSickest(sickest) {
  const drawn = sickest.map((one) => {
    const item = make("li");
    item.dataset.code = one.code;
    item.append(make("span", "code", `${one.code}, since ${clock(one.since)}: `), written("span", "text", one.text), written("span", "next", one.next));
    return item;
  });
  if (!drawn.length) drawn.push(make("li", "well", "nothing was lost or late in the last minute"));
  const list = at("sickest");
  const words = drawn.map((item) => item.textContent).join("\n");
  if (list.dataset.words !== words) {  // else a screen reader would say it each second
    list.dataset.words = words;
    list.replaceChildren(...drawn);
  }
}

// -- what only who knows the token sees ------------------------------------------------------------------------------

const figures = new Map();

function drawCameras(nodes) {
  at("s-cameras").hidden = !isKnown;
  if (!isKnown) return;
  for (const node of nodes.filter((one) => one.kind === "capture")) {
    let figure = figures.get(node.name);
    if (!figure) {
      figure = make("figure");
      const canvas = make("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `latest picture of ${node.name}`);
      figure.append(canvas, make("figcaption"));
      figures.set(node.name, figure);
      at("cameras").append(figure);
    }
    const isDown = node.state !== "running" && !OFF.has(node.state);
    figure.className = isDown ? "down" : "";
    figure.dataset.camera = node.name;
    figure.lastChild.textContent = isDown ? `${node.name}: ${node.state}${node.since ? ` since ${clock(node.since)}` : ""}. ${node.why}` : node.name;
    if (!isDown && !document.hidden && !figure.dataset.busy) showPicture(figure, node.name);
  }
}

async function showPicture(figure, node) {
  figure.dataset.busy = "1";
  try {
    const answer = await fetch(path(`/nodes/${encodeURIComponent(node)}/latest.jpg?width=640`), {cache: "no-store"});
    if (!answer.ok) return;
    const picture = await createImageBitmap(await answer.blob()), canvas = figure.firstChild;
    [canvas.width, canvas.height] = [picture.width, picture.height];
    canvas.getContext("2d").drawImage(picture, 0, 0);
    figure.dataset.shown = String(Number(figure.dataset.shown ?? 0) + 1);
    picture.close();
  } catch (fault) {
    figure.lastChild.textContent = `${node}: no picture (${fault.message})`;
  } finally {
    figure.dataset.busy = "";
  }
}

function told(kind, event) {
  if (kind === "drop") return `${event.from} → ${event.to} dropped ${event.count}: ${event.reason}`;
  if (kind === "state") return `${event.node}: ${event.before} → ${event.state}${event.why ? ` (${event.why})` : ""}`;
  const rest = Object.entries(event).filter(([key]) => key !== "at" && key !== "run");
  return `${kind}: ${rest.map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ")}`;
}

let stream = null;

function listen() {
  at("s-events").hidden = at("s-logs").hidden = !isKnown;
  if (!isKnown || stream) return;
  stream = new EventSource(path("/events"));
  const show = (message) => {
    const item = make("li"), when = make("time", "", new Date().toLocaleTimeString());
    item.append(when, told(message.type, JSON.parse(message.data)));
    at("events").prepend(item);
    while (at("events").childElementCount > EVENTS_MAX) at("events").lastChild.remove();
  };
  for (const kind of ["state", "ready", "drop", "consumer", "dead_letter", "operator", "lag"]) stream.addEventListener(kind, show);
}

let logsAt = -LOGS_MS;

async function drawLogs(nodes) {
  const chooser = at("node");
  if (chooser.options.length !== nodes.length + 1) {
    const options = nodes.map((node) => make("option", "", node.name));
    chooser.replaceChildren(chooser.options[0], ...options);
  }
  if (!isKnown || document.hidden || performance.now() - logsAt < LOGS_MS) return;
  logsAt = performance.now();
  const chosen = chooser.value ? `&node=${encodeURIComponent(chooser.value)}` : "";
  const {status, body} = await ask(`/logs?lines=${LOG_LINES}${chosen}`);
  if (status !== 200) return;
  const text = body;
  const box = at("logs"), isAtEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
  if (box.textContent !== text) {
    box.textContent = text;
    if (isAtEnd) box.scrollTop = box.scrollHeight;
  }
}

async function checkToken() {
  isKnown = (await (await fetch("/session", {cache: "no-store"})).json()).known;
  at("login").hidden = isKnown;
}

at("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/session", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({token: at("token").value})});
  at("refused").textContent = answer.ok ? "" : "this is not the token";
  at("token").value = "";
  await checkToken();
});

// -- once a second ---------------------------------------------------------------------------------------------------

async function choose() {
  const known = await (await fetch("/pipelines", {cache: "no-store"})).json();
  if (!name && known.length) name = known[0].name;
  at("pipelines").replaceChildren(...(known.length > 1 ? known : []).map((one) => {
    const link = make("a", "", one.name);
    link.href = `#${encodeURIComponent(one.name)}`;
    return link;
  }));
}

at("node").addEventListener("change", () => { logsAt = -LOGS_MS; });
window.addEventListener("hashchange", () => location.reload());

async function look() {
  const {status, body: run} = await ask("/pipeline");
  if (status !== 200) {
    at("about").textContent = `${run.detail ?? `the server answers ${status}`} ${run.next ?? ""}`;
    return;
  }
  const now = performance.now(), seconds = before ? (now - before.at) / 1000 : 0;
  at("name").textContent = document.title = run.name;
  at("about").textContent = `${run.state}${run.seconds ? `, for ${Math.round(run.seconds)} s` : ""}, run ${run.run ?? "-"}, at ${clock(run.at)}`;
  drawSickest(run.sickest);
  drawGraph(run, seconds);
  drawLedger(run.edges);
  drawCameras(run.nodes);
  listen();
  await drawLogs(run.nodes);
  before = {at: now, edges: new Map(run.edges.map((edge) => [`${edge.from}>${edge.to}`, edge]))};
}

async function goOn() {
  try {
    if (!name) { await choose(); await checkToken(); }
    await look();
  } catch (fault) {
    at("about").textContent = `no answer from the server (${fault.message}); it is asked again`;
  }
  setTimeout(goOn, LOOK_MS);
}

await choose().catch(() => {});
await checkToken().catch(() => {});
goOn();
