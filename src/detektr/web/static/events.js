// Events as they come, over one stream: what happened in the run is told here, what was seen goes to `seen.js`. The list keeps
// its newest entries only, so that a page that is open for days stays small.
import {at, clock, make, prepend, say} from "./dom.js";
import {takeResult} from "./cameras.js";
import {listensAgain, see} from "./seen.js";
import {checkToken, isKnown, path} from "./server.js";
import {connect, shareConnections} from "./stream.js";

const EVENTS_MAX = 200;
const OPEN_AGAIN_MS = 3000;
const DROPS_MS = 60_000; // an edge that goes on dropping is told once in this time, with the sum

function told(kind, event) {
  if (kind === "reset") return `listening from now on: the run is ${event.state}`;
  if (kind === "drop") return `${event.from} → ${event.to} dropped ${event.count}: ${event.reason}`;
  if (kind === "dead_letter") return `${event.from} → ${event.to}: ${event.count} dead-lettered`;
  if (kind === "consumer") return `${event.from} → ${event.to}: ${event.consumers} ${event.consumers === 1 ? "consumer" : "consumers"} now`;
  if (kind === "state") return `${event.node}: ${event.before ?? "new"} → ${event.state}${event.why ? ` (${event.why})` : ""}`;
  if (kind === "ready") return event.ready ? "ready" : `not ready: ${(event.reasons ?? []).map((one) => one.text).join("; ")}`;
  if (kind === "lag") return `${event.missed} events were left out, as this page was too slow`;
  const rest = Object.entries(event).filter(([key]) => key !== "at" && key !== "run");
  return `${kind}: ${rest.map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ")}`;
}

const drops = new Map(); // by edge and reason: the entry that counts them, how many, and since when

function countDrop(event) {
  const key = JSON.stringify([event.from, event.to, event.reason]), known = drops.get(key);
  if (!known || !known.item.isConnected || performance.now() - known.at > DROPS_MS) return key;
  known.count += event.count;
  say(known.item.lastElementChild, `${told("drop", {...event, count: known.count})}, until ${clock(event.at)}`);
  return "";
}

function show(kind, event) {
  const drop = kind === "drop" ? countDrop(event) : null;
  if (drop === "") return;
  const item = make("li", kind);
  item.append(make("time", "", clock(event.at ?? new Date().toISOString())), make("span", "", told(kind, event)));
  prepend(at("events"), item, EVENTS_MAX);
  if (drop) drops.set(drop, {item, count: event.count, at: performance.now()});
  for (const [key, {item: old}] of drops) if (!old.isConnected) drops.delete(key);
}

let stream = null, again = 0, hear = () => {};
let deafSince = ""; // since when this page does not listen

// What is called when the state of a node, or of the whole, has changed.
export function onNews(act) {
  hear = act;
}

function take(kind, text) {
  const event = JSON.parse(text);
  if (kind === "result") {
    takeResult(event);
    return see(event);
  }
  if (kind === "reset") listensAgain(deafSince);
  deafSince = "";
  show(kind, event);
  if (kind === "state" || kind === "ready") hear();
}

function lost(isOver) {
  deafSince ||= new Date().toISOString();
  if (!isOver) return; // the browser tries again by itself
  close();
  again = performance.now() + OPEN_AGAIN_MS;
  checkToken().catch(() => {});
}

function close() {
  if (stream) deafSince ||= new Date().toISOString();
  stream?.close();
  stream = null;
}

// Once a second. A page that nobody looks at does not listen: it costs the server nothing.
export function listen() {
  at("s-events").hidden = at("s-seen").hidden = !isKnown();
  if (!isKnown() || document.hidden) close();
  else if (stream) stream.stay();
  else if (performance.now() > again) stream = connect(path("/events?results=all"), take, lost);
}

shareConnections(close);
