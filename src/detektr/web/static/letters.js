// Dead letters: what was given up, why, with its picture or its event; events can be given to their sink again.
import {Known, arrange, at, button, clock, goTo, make, say} from "./dom.js";
import {lookUp} from "./frames.js";
import {ask, complaint, isKnown, order, path} from "./server.js";

const EACH_MS = 5000, SHOWN_MAX = 50;
let askedAt = -EACH_MS;

const lastLine = (text) => String(text ?? "").trim().split("\n").at(-1);

// Which one it was, from its id: TIME_CAPTURE_CAMERA_SEQUENCE_MARK.
function place(frame) {
  const [, names, sequence] = /^[^_]*_(.+)_(\d+)_[^_]*$/.exec(frame ?? "") ?? [];
  if (!names) return "";
  const camera = names.slice(names.length / 2 + 0.5);
  return ` ${sequence} of ${names === `${camera}_${camera}` ? camera : names}`;
}

async function open(letter, into) {
  const answer = await ask(`/dead-letters/${encodeURIComponent(letter)}`);
  if (!answer.isGood) return into.replaceChildren(make("p", "", complaint(answer)));
  const whole = answer.body, shown = [];
  if (whole.frame) {
    const line = make("p", "", `frame ${whole.frame} `), way = button("what became of it", () => lookUp(whole.frame, false));
    way.className = "link";
    line.append(way);
    shown.push(line);
  }
  if (whole.picture) {
    const image = make("img");
    image.alt = `picture of frame ${whole.frame}`;
    image.width = 320;
    image.addEventListener("load", () => goTo(into));
    image.src = path(`/dead-letters/${encodeURIComponent(letter)}/picture.jpg?width=640`);
    shown.push(image);
  } else if (whole.no_picture) shown.push(make("p", "", `it has no picture: ${whole.no_picture}`));
  shown.push(make("pre", "", [String(whole.why ?? "").trim(), whole.event && JSON.stringify(whole.event, null, 2)].filter(Boolean).join("\n\n")));
  into.replaceChildren(...shown);
}

async function resend(body) {
  say(at("resent"), "resending");
  try {
    const answer = await order("/dead-letters/resend", body);
    const left = answer.isGood ? answer.body.left.map(({id, why}) => `${id}: ${why}`) : [];
    say(at("resent"), answer.isGood ? [`${answer.body.resent} resent`, ...(answer.body.resent || left.length ? [] : ["there is no event among them"]), ...left].join("; ") : complaint(answer));
  } catch (fault) {
    say(at("resent"), `no answer from the server (${fault.message})`);
  }
  askedAt = -EACH_MS;
}

const items = new Known((letter) => {
  const item = make("li"), more = make("details"), head = make("summary"), body = make("div");
  item.dataset.letter = letter;
  more.append(head, body);
  more.addEventListener("toggle", () => {
    if (more.open) open(letter, body).catch((fault) => body.replaceChildren(make("p", "", `no answer (${fault.message})`)));
  });
  item.append(more);
  return item;
});

function draw(row) {
  const item = items.get(row.id), head = item.querySelector("summary");
  say(head, `${clock(row.at)} ${row.kind === "event" ? "event of frame" : row.kind}${place(row.frame)}, ${row.producer} → ${row.consumer}: ${lastLine(row.why)}`);
  if (row.kind === "event" && item.children.length === 1) item.append(button("resend", () => resend({ids: [row.id]})));
  return item;
}

export async function drawLetters() {
  if (!isKnown()) at("s-letters").hidden = true;
  if (!isKnown() || document.hidden || performance.now() - askedAt < EACH_MS) return;
  askedAt = performance.now();
  const {isGood, body} = await ask(`/dead-letters?limit=${SHOWN_MAX}`);
  if (!isGood) return;
  at("s-letters").hidden = !body.count && !body.let_go;
  const rest = [body.count > body.dead_letters.length ? `the newest ${body.dead_letters.length} of ${body.count}` : "", body.let_go ? `${body.let_go} older ones had to go, as the spool was full` : ""];
  say(at("letters-rest"), rest.filter(Boolean).join("; "));
  at("resend-all").hidden = body.count === body.dead_letters.length && !body.dead_letters.some(({kind}) => kind === "event");
  at("letters-hint").hidden = !body.dead_letters.some(({kind}) => kind === "frame");
  const drawn = body.dead_letters.map(draw);
  items.keep(body.dead_letters.map((row) => row.id));
  arrange(at("letters"), drawn);
}

at("resend-all").addEventListener("click", () => resend({all: true}));
