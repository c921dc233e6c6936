// What became of one frame, looked up by its id.
import {at, clock, goTo, make, written} from "./dom.js";
import {Tracks, draw, shapes} from "./overlay.js";
import {ask, complaint, isKnown, picture} from "./server.js";

const WIDTH = 640;
const LOOKS = 5, AGAIN_MS = 1000; // the trail has a frame a moment after it is done with
const ID = /^(\d{10,15})_(.+)_(\d+)_[0-9a-f]+$/; // TIME_CAPTURE_CAMERA_SEQUENCE_MARK
const TWICE = /^(.+)_\1$/; // a capture and its camera of one name
let findResult = async () => null;

// What tells what was seen in a frame, where that is known: a function of its id.
export function onUnknown(find) {
  findResult = find;
}

const GONE = "its picture is gone: a slot of the ring is used again at once";

function line(step) {
  const when = make("time", "", step.time ? `${clock(step.time)}.${step.time.slice(20, 23)}` : "");
  const rest = [step.edge, step.delivery > 1 ? `delivery ${step.delivery}` : "", step.reason, step.saved].filter(Boolean);
  const item = make("li");
  const after = typeof step.after_ms === "number" ? ` +${step.after_ms.toFixed(1)} ms` : "";
  item.append(when, `${after} ${step.node ?? ""}: ${step.what ?? ""}${rest.length ? ` (${rest.join(", ")})` : ""}`);
  return item;
}

// The picture of a frame, with what a result says of it; where it is gone, some words.
export function boxed({frame, node, data}, width, label, gone) {
  const canvas = make("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  const isGone = () => canvas.replaceWith(make("p", "gone", gone));
  picture(`/frames/${encodeURIComponent(frame)}/still.jpg`).then((found) => {
    if (!found) return isGone();
    const {image, whole} = found;
    canvas.width = Math.min(width, image.width);
    canvas.height = Math.round((canvas.width * image.height) / image.width);
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    if (data) draw(pen, shapes(node, data), new Tracks(), canvas.width / whole);
    image.close();
  }).catch(isGone);
  return canvas;
}

// What the id itself says.
function called(frame, camera) {
  const [, ms, names, sequence] = ID.exec(frame) ?? [];
  const [, place, count] = /^(.+)\/(\d+)$/.exec(frame) ?? [];
  if (!ms) return count ? `frame ${count} of ${place}` : `frame ${frame}${camera ? ` of ${camera}` : ""}`;
  const moment = new Date(Number(ms)).toISOString();
  return `frame ${sequence} of ${camera || (TWICE.exec(names)?.[1] ?? names)}, captured at ${clock(moment)}.${moment.slice(20, 23)}`;
}

// What was asked for last: what comes late of an earlier look is not shown.
let asking = 0;

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

// `hasPicture` false: its picture is known to be gone. `result`: what is known to have been seen in it.
export async function lookUp(text, hasPicture = true, result = null) {
  const found = at("found"), own = ++asking;
  at("frame").value = text;
  found.replaceChildren(make("p", "", "looking"));
  goTo(at("s-frame"));
  const known = result ?? (isKnown() && ID.test(text) ? await findResult(text).catch(() => null) : null);
  if (own !== asking) return;
  if (isKnown() && hasPicture && ID.test(text)) found.prepend(boxed({...known, frame: text}, WIDTH, `picture of frame ${text}`, GONE));
  for (let looks = LOOKS; looks && own === asking; looks--) {
    const {isOver, lines} = await told(text, known);
    if (own !== asking) return;
    found.replaceChildren(...(found.firstElementChild?.matches("canvas, .gone") ? [found.firstElementChild] : []), ...lines);
    goTo(at("s-frame"));
    if (isOver) return;
    await wait(AGAIN_MS);
  }
}

// What is known of a frame, as elements; `isOver`: it will not become more.
async function told(frame, result) {
  try {
    const answer = await ask(`/frames/${encodeURIComponent(frame)}`), is = answer.isGood ? answer.body : {};
    const lines = answer.isGood || ID.test(frame) ? [make("p", "", called(is.frame ?? frame, is.camera ?? result?.camera))] : [];
    if (result?.words) lines.push(make("p", "", `${result.node} returned: ${result.words}`));
    if (!answer.isGood) return {isOver: !ID.test(frame), lines: [...lines, written("p", "", complaint(answer))]};
    const list = make("ol", "steps"), places = is.places ?? [];
    list.append(...(is.steps ?? []).map(line));
    const now = places.map(({edge, what, state, age_ms: age}) => make("p", "", `now: ${what} ${state} on ${edge}, for ${age} ms`));
    return {isOver: Boolean(is.steps?.length && !places.length), lines: [...lines, list, ...now]};
  } catch (fault) {
    return {isOver: true, lines: [make("p", "", `no answer from the server (${fault.message})`)]};
  }
}

at("look-up").addEventListener("submit", (event) => {
  event.preventDefault();
  const frame = at("frame").value.trim();
  if (frame) lookUp(frame);
});
