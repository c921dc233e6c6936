// What became of one frame, looked up by its id.
import {at, clock, goTo, make} from "./dom.js";
import {ask, complaint, isKnown, path} from "./server.js";

function line(step) {
  const when = make("time", "", step.time ? `${clock(step.time)}.${step.time.slice(20, 23)}` : "");
  const rest = [step.edge, step.delivery > 1 ? `delivery ${step.delivery}` : "", step.reason, step.saved].filter(Boolean);
  const item = make("li");
  const after = typeof step.after_ms === "number" ? ` +${step.after_ms.toFixed(1)} ms` : "";
  item.append(when, `${after} ${step.node ?? ""}: ${step.what ?? ""}${rest.length ? ` (${rest.join(", ")})` : ""}`);
  return item;
}

function picture(frame) {
  const image = make("img");
  image.addEventListener("load", () => goTo(at("s-frame")));
  image.alt = `picture of frame ${frame}`;
  image.width = 320;
  image.addEventListener("error", () => image.replaceWith(make("p", "gone", "its picture is gone: a slot of the ring is used again at once")));
  image.src = path(`/frames/${encodeURIComponent(frame)}/still.jpg`);
  return image;
}

// `hasPicture` false: its picture is known to be gone.
export async function lookUp(frame, hasPicture = true) {
  const found = at("found");
  at("frame").value = frame;
  goTo(at("s-frame"));
  found.replaceChildren(make("p", "", "looking"));
  try {
    const answer = await ask(`/frames/${encodeURIComponent(frame)}`);
    const shown = isKnown() && hasPicture ? [picture(frame)] : [];
    if (!answer.isGood) {
      found.replaceChildren(make("p", "", complaint(answer)), ...shown);
      return goTo(at("s-frame"));
    }
    const {camera, steps = [], places = []} = answer.body, list = make("ol", "steps");
    list.append(...steps.map(line));
    const now = places.map(({edge, what, state, age_ms: age}) => make("p", "", `now: ${what} ${state} on ${edge}, for ${age} ms`));
    found.replaceChildren(...shown, make("p", "", `frame ${frame}${camera ? ` of camera ${camera}` : ""}`), list, ...now);
    goTo(at("s-frame"));
  } catch (fault) {
    found.replaceChildren(make("p", "", `no answer from the server (${fault.message})`));
  }
}

at("look-up").addEventListener("submit", (event) => {
  event.preventDefault();
  const frame = at("frame").value.trim();
  if (frame) lookUp(frame);
});
