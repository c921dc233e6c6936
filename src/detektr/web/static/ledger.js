// The ledger: what became of all that was offered on each edge, as a sum in words and as a bar that adds up.
import {Known, arrange, at, make, say, sum} from "./dom.js";

const ASKED_FOR = new Set(["thinned", "filtered", "absent", "cleared"]); // the file, or an operator, asks for these
const isAsked = ([why]) => ASKED_FOR.has(why);

export const asked = (edge) => sum(Object.fromEntries(Object.entries(edge.dropped ?? {}).filter(isAsked)));
export const lost = (edge) => sum(edge.dropped) - asked(edge) + edge.dead_lettered;

const KINDS = ["delivered", "dropped", "asked", "dead", "queued", "flight"];

const rows = new Known((name) => {
  const row = make("div", "row"), bar = make("div", "bar");
  row.dataset.edge = name;
  bar.setAttribute("role", "img");
  bar.append(...KINDS.map((kind) => make("i", kind)));
  row.append(make("div", "sum"), bar);
  return row;
});

function draw(edge) {
  const row = rows.get(`${edge.from} -> ${edge.to}`), [words, bar] = row.children;
  const given = [edge.delivered, sum(edge.dropped) - asked(edge), asked(edge), edge.dead_lettered, edge.queued, edge.in_flight];
  const called = ["delivered", "dropped", "left out as asked", "dead-lettered", "queued", "in flight"];
  given.forEach((count, place) => {
    bar.children[place].style.width = `${(100 * count) / Math.max(1, edge.offered)}%`;
  });
  const terms = given.map((count, place) => (count ? `${count} ${called[place]}` : "")).filter(Boolean);
  const whys = Object.entries(edge.dropped ?? {}).filter(([, count]) => count).map(([why, count]) => `${why} ${count}`);
  const missing = edge.offered - given.reduce((all, count) => all + count, 0);
  const text = `${edge.from} → ${edge.to}: ${edge.offered} offered = ${terms.join(" + ") || "nothing yet"}`
    + (whys.length ? ` (${whys.join(", ")})` : "") + (missing ? ` — ${missing} ARE MISSING: a defect` : "");
  say(words, text);
  bar.setAttribute("aria-label", text);
  return row;
}

const isWhole = (edge) => edge.offered === edge.delivered + sum(edge.dropped) + edge.dead_lettered + edge.queued + edge.in_flight;

export function drawLedger(edges) {
  const wrong = edges.filter((edge) => !isWhole(edge)).length;
  const verdict = wrong ? `${wrong} of ${edges.length} edges do NOT add up` : `adds up: on each of the ${edges.length} edges every frame that was offered is in one of these`;
  say(at("adds-up"), edges.length ? verdict : "");
  const drawn = edges.map(draw);
  rows.keep(edges.map((edge) => `${edge.from} -> ${edge.to}`));
  arrange(at("ledger"), drawn);
}
