// What is wrong, the worst first, in the words of `detektr why`, and where on this page there is more of it.
import {Known, arrange, at, button, clock, make, say, write, written} from "./dom.js";
import {isKnown} from "./server.js";

const SHOWN_MAX = 20;
const WELL = "nothing was lost or late in the last minute";
let choose = () => {};

// What is called with the node whose log and orders are wanted.
export function onCulprit(act) {
  choose = act;
}

// What is still wrong keeps its element: its numbers change each second, and a button in it must stay under the mouse.
const items = new Known((key) => {
  const [code, culprit] = JSON.parse(key), item = make("li");
  const node = button(`log and orders of ${culprit}`, () => choose(culprit));
  const letters = button("dead letters", () => at("s-letters").scrollIntoView());
  node.className = letters.className = "link";
  [item.dataset.code, item.dataset.culprit] = [code, culprit];
  item.append(make("span", "code"), make("span", "text"), make("span", "next"), node, letters);
  return item;
});

function draw(one, key, names) {
  const item = items.get(key), [head, text, next, node, letters] = item.children;
  say(head, `${one.code.replaceAll("_", " ")}, since ${clock(one.since)}: `);
  write(text, one.text);
  write(next, one.next);
  node.hidden = !isKnown() || !names.has(one.culprit);
  letters.hidden = !isKnown() || one.code !== "failing" || at("s-letters").hidden;
  return item;
}

export function drawSickest(sickest, names) {
  const times = new Map(); // that the same is said of the same: each has an element of its own
  const keys = sickest.slice(0, SHOWN_MAX).map(({code, culprit}) => {
    const name = JSON.stringify([code, culprit]), place = times.get(name) ?? 0;
    times.set(name, place + 1);
    return JSON.stringify([code, culprit, place]);
  });
  const drawn = keys.map((key, place) => draw(sickest[place], key, names));
  if (sickest.length > SHOWN_MAX) drawn.push(written("li", "", `and ${sickest.length - SHOWN_MAX} more: see \`detektr why\``));
  if (!drawn.length) drawn.push(at("sickest").querySelector(".well") ?? make("li", "well", WELL));
  arrange(at("sickest"), drawn);
  items.keep(keys);
}
