// Events as they come, over one stream: what happened in the run, and what was seen, with the picture of its frame where it
// can still be had. Both lists keep their newest entries only, so that a page that is open for days stays small.
import {at, button, clock, make, say} from "./dom.js";
import {takeResult} from "./cameras.js";
import {boxed, lookUp} from "./frames.js";
import {summary} from "./overlay.js";
import {checkToken, isKnown, path} from "./server.js";
import {connect, shareConnections} from "./stream.js";

const EVENTS_MAX = 200, SEEN_MAX = 60;
const LATELY_MAX = 500;
const AGAIN_MS = 10_000; // the same thing, seen again by the same node in the same camera, is told again after this
const OPEN_AGAIN_MS = 3000;
const DROPS_MS = 60_000; // an edge that goes on dropping is told once in this time, with the sum
const PICTURE_WIDTH = 240;

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

function prepend(list, item, most) {
  list.prepend(item);
  while (list.childElementCount > most) list.lastElementChild.remove();
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

// Its picture is fetched at once, though nobody may ever scroll to it: a moment later the server has none any more.
function entry(result, words) {
  const item = make("li"), text = make("span"), said = {...result, words};
  const more = button("its frame", () => lookUp(result.frame, result.still, said));
  more.className = "link";
  item.dataset.frame = result.frame;
  text.append(make("time", "", clock(result.timestamp)), `${result.camera}: ${words} (${result.node})`, make("span"), " ", more);
  const label = `${result.camera} at that frame`;
  item.append(result.still ? boxed(result, PICTURE_WIDTH, label, "its picture is gone") : make("span", "gone", "no picture"), text);
  return item;
}

// How often the same was seen, where it was seen again and again.
function tellAgain({item, count, until}) {
  say(item.lastElementChild.children[1], count > 1 ? `, until ${clock(until)} in ${count} frames` : "");
}

const lately = new Map(); // by camera, node and what it says: the entry that tells it, since when, and how often

function see(result) {
  const words = summary(result.node, result.data), now = performance.now();
  if (!words) return;
  const key = JSON.stringify([result.camera, result.node, words]), known = lately.get(key);
  if (known && now - known.at < AGAIN_MS) {
    known.count += 1;
    known.until = result.timestamp;
    if (!known.hasPicture && result.still) { // the same was seen a moment later, with a picture
      known.hasPicture = true;
      const item = entry(result, words);
      known.item.replaceWith(item);
      known.item = item;
    }
    return tellAgain(known);
  }
  const item = entry(result, words);
  lately.delete(key);
  lately.set(key, {at: now, item, hasPicture: result.still, count: 1, until: result.timestamp});
  if (lately.size > LATELY_MAX) lately.delete(lately.keys().next().value);
  prepend(at("seen"), item, SEEN_MAX);
  tellSpan();
}

let stream = null, again = 0, hear = () => {};
let listensSince = "";
let deafSince = ""; // since when this page does not listen

// From when on the list says all, and what an entry is.
function tellSpan() {
  const list = at("seen"), oldest = list.lastElementChild?.querySelector("time")?.textContent;
  const since = list.childElementCount < SEEN_MAX || !oldest ? `since this page listens (${clock(listensSince)})` : `since ${oldest}: the list has the newest ${SEEN_MAX}`;
  say(at("seen-since"), `${since}; what is seen again within ${AGAIN_MS / 1000} s is counted in its entry; earlier results are where the sinks of this pipeline wrote them`);
}

// That nothing is to be read here of some time does not mean that nothing was seen.
function tellSince() {
  const now = new Date().toISOString();
  if (deafSince && at("seen").childElementCount)
    prepend(at("seen"), make("li", "gap", `this page did not listen from ${clock(deafSince)} to ${clock(now)}`), SEEN_MAX);
  listensSince ||= now;
  deafSince = "";
  tellSpan();
}

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
  if (kind === "reset") tellSince();
  else deafSince = "";
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
