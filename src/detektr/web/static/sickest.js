// What is wrong, the worst first, in the words of `detektr why`.
import {at, clock, make, written} from "./dom.js";

const SHOWN_MAX = 20;
const WELL = "nothing was lost or late in the last minute";

export function drawSickest(sickest) {
  const drawn = sickest.slice(0, SHOWN_MAX).map((one) => {
    const item = make("li");
    item.dataset.code = one.code;
    item.dataset.culprit = one.culprit;
    const head = make("span", "code", `${one.code}, since ${clock(one.since)}: `);
    item.append(head, written("span", "text", one.text), written("span", "next", one.next));
    return item;
  });
  if (sickest.length > SHOWN_MAX) drawn.push(make("li", "", `and ${sickest.length - SHOWN_MAX} more: see \`detektr why\``));
  if (!drawn.length) drawn.push(make("li", "well", WELL));
  const list = at("sickest"), words = drawn.map((item) => item.textContent).join("\n");
  if (list.dataset.words === words) return; // else a screen reader would say it each second
  list.dataset.words = words;
  list.replaceChildren(...drawn);
}
