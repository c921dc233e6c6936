// What was seen: results as they come, with the picture of their frame where it can still be had; and, where the pipeline keeps
// it, what was seen before, also while no page was open. Both lists stay small.
import {at, button, clock, lasted, make, prepend, say, write} from "./dom.js";
import {boxed, lookUp, onUnknown} from "./frames.js";
import {ask, complaint} from "./server.js";

const SEEN_MAX = 60, BEFORE_MAX = 20;
const LATELY_MAX = 500;
const AGAIN_MS = 10_000, MINUTE_MS = 60_000; // what is seen again within this time is in the same entry, for a minute at most
const PICTURE_WIDTH = 240;

let listensSince = "";
let kept = null, keptAt = 0; // what the server said of what it keeps, and when

// -- as it comes -----------------------------------------------------------------------------------------------------

// Its picture is fetched at once, though nobody may ever scroll to it: a moment later the server may have none any more.
function entry(result, when) {
  const item = make("li"), text = make("span");
  const show = () => lookUp(result.frame, result.still, result), more = button("its frame", show);
  more.className = "link";
  more.setAttribute("aria-label", `its frame: ${result.camera}, ${result.words}, ${when}`);
  item.dataset.frame = result.frame;
  text.append(make("time", "", when), `${result.camera}: ${result.words} (${result.node})`, make("span"), " ", more);
  const label = `${result.camera} at that frame`;
  item.append(result.still ? boxed(result, PICTURE_WIDTH, label, "its picture is gone") : make("span", "gone", "no picture"), text);
  item.firstElementChild.addEventListener("click", show);
  results.set(item, result);
  return item;
}

const results = new WeakMap(); // by entry

// What was seen in a frame, by the entries that are shown, or by what was kept.
onUnknown(async (frame) => {
  for (const item of document.querySelectorAll(".seen li")) if (item.dataset.frame === frame) return results.get(item);
  return kept?.cameras?.length ? ((await find({frame, most: 1})).seen[0] ?? null) : null;
});

// How often the same was seen, where it was seen again and again.
function tellAgain({item, count, until}) {
  say(item.lastElementChild.children[1], count > 1 ? `, until ${clock(until)} in ${count} frames` : "");
}

const lately = new Map(); // by camera, node and what it says: the entry that tells it, since when, and how often

export function see(result) {
  const {words} = result, now = performance.now();
  if (!words) return;
  const key = JSON.stringify([result.camera, result.node, words]), known = lately.get(key);
  if (known && now - known.lastAt < AGAIN_MS && now - known.at < MINUTE_MS) {
    known.count += 1;
    known.lastAt = now;
    known.until = result.timestamp;
    if (!known.hasPicture && result.still) { // the same was seen a moment later, with a picture
      known.hasPicture = true;
      const item = entry(result, clock(result.timestamp));
      known.item.replaceWith(item);
      known.item = item;
    }
    return tellAgain(known);
  }
  const item = entry(result, clock(result.timestamp));
  lately.delete(key);
  lately.set(key, {at: now, lastAt: now, item, hasPicture: result.still, count: 1, until: result.timestamp});
  if (lately.size > LATELY_MAX) lately.delete(lately.keys().next().value);
  prepend(at("seen"), item, SEEN_MAX);
  tellSpan();
}

// From when on the list says all, and what an entry is.
function tellSpan() {
  if (kept?.keep_s && performance.now() - keptAt > MINUTE_MS) { // whether it can be kept may have changed
    keptAt = performance.now();
    find({most: 1}).then(tellSpan, () => {});
  }
  const list = at("seen"), oldest = list.lastElementChild?.querySelector("time")?.textContent;
  const since = list.childElementCount < SEEN_MAX || !oldest ? `since this page listens (${clock(listensSince)})` : `since ${oldest}: the list has the newest ${SEEN_MAX}`;
  const again = `what is seen again within ${AGAIN_MS / 1000} s is counted in its entry, for a minute at most`;
  write(at("seen-since"), `${kept?.keep_s ? keptWords() : `${since}; earlier results are where the sinks of this pipeline wrote them; \`seen: 7d\` below \`web\` in its file would keep them here`}; ${again}`);
}

// That nothing is to be read here of some time does not mean that nothing was seen; `deafSince`: from when on we did not listen.
export function listensAgain(deafSince) {
  const now = new Date().toISOString();
  if (deafSince && at("seen").childElementCount)
    prepend(at("seen"), make("li", "gap", `this page did not listen from ${clock(deafSince)} to ${clock(now)}${kept?.keep_s ? ": choose a time to see what was kept" : ""}`), SEEN_MAX);
  if (!listensSince) before(now).catch(() => {}); // the list of those that come is right without it
  listensSince ||= now;
  tellSpan();
}

// -- what was kept ---------------------------------------------------------------------------------------------------

function keptWords() {
  const since = kept.since ? `the oldest is of ${clock(kept.since)}` : "nothing was seen yet";
  const left = kept.left_out ? `; ${kept.left_out} could not be kept` : "";
  return `kept for ${lasted(kept.keep_s)}, ${since}${left}${kept.fault ? `; nothing is kept now: ${kept.fault}` : ""}`;
}

// Entries of `seen` as the server lists them, the latest first.
function entries({seen}) {
  return seen.map((one) => {
    const from = clock(one.at), until = clock(one.until);
    return entry(one, from === until ? from : `${from} to ${until}`);
  });
}

async function find(query) {
  const answer = await ask(`/seen?${new URLSearchParams(query)}`);
  if (!answer.isGood) throw new Error(complaint(answer));
  [kept, keptAt] = [answer.body, performance.now()];
  at("seen-at").hidden = !kept.keep_s && !kept.cameras?.length;
  const select = at("seen-camera"), names = [...select.options].map((option) => option.value);
  for (const name of kept.cameras ?? []) if (!names.includes(name)) select.append(new Option(name, name));
  return kept;
}

// What was seen before this page was open, below what comes.
async function before(now) {
  const found = await find({at: now.replace("Z", "+00:00"), most: BEFORE_MAX});
  at("seen").append(...entries(found));
  tellSpan();
}

let oldestShown = 0, asking = 0; // UTC in ms; what was asked for last: what comes late of an earlier question is not shown

async function showThen(askedMs) {
  const untilMs = Math.min(askedMs, Date.now()), isAhead = askedMs > untilMs;
  const own = ++asking, camera = at("seen-camera").value, list = at("seen-then"), line = at("seen-when");
  line.hidden = false;
  at("seen-now").hidden = false;
  try {
    const query = {at: new Date(untilMs).toISOString().replace("Z", "+00:00"), most: SEEN_MAX, ...(camera && {camera})};
    const found = await find(query);
    if (own !== asking) return;
    const where = camera ? ` in ${camera}` : "";
    const last = found.seen.at(-1);
    oldestShown = last ? Date.parse(last.at) : 0;
    const until = isAhead ? "until now" : `until ${clock(new Date(untilMs).toISOString())}`;
    say(line, last ? `what was seen${where} ${until}, the latest first, back to ${clock(last.at)}` : `nothing was seen${where} ${until}`);
    list.replaceChildren(...entries(found));
    list.scrollTop = 0;
    at("seen").hidden = true;
    list.hidden = false;
    at("seen-earlier").hidden = found.seen.length < SEEN_MAX;
    tellSpan();
  } catch (fault) {
    if (own === asking) say(line, fault.message);
  }
}

function showNow() {
  asking += 1;
  at("seen-then").replaceChildren();
  at("seen-camera").value = "";
  for (const id of ["seen-then", "seen-now", "seen-earlier", "seen-when"]) at(id).hidden = true;
  at("seen").hidden = false;
}

// Without a time: until now. A time without seconds: the whole of that minute.
function search() {
  const text = at("seen-time").value, [, seconds] = /:\d\d:(\d\d)/.exec(text) ?? [], moment = new Date(text).getTime();
  showThen(Number.isFinite(moment) ? moment + (seconds ? 999 : MINUTE_MS - 1) : Date.now());
}

at("seen-at").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
at("seen-camera").addEventListener("change", search);
at("seen-earlier").addEventListener("click", () => showThen(oldestShown - 1));
at("seen-now").addEventListener("click", showNow);
