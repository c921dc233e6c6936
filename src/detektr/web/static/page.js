// The page of one pipeline: once a second it asks `/pipeline`, and gives what that says to those that draw it. Each part of
// the page is a module of its own: sickest, graph, ledger, cameras (overlay), events, seen, frames, letters, node.
import {arrange, at, button, clock, lasted, make, say, zone} from "./dom.js";
import {drawCameras} from "./cameras.js";
import {listen, onNews} from "./events.js";
import {drawGraph, onChoice} from "./graph.js";
import {drawLedger} from "./ledger.js";
import {drawLetters} from "./letters.js";
import {chooseNode, drawNode} from "./node.js";
import {ask, checkToken, choose, complaint, isKnown, login, logout, pipeline} from "./server.js";
import {drawSickest, onCulprit} from "./sickest.js";

const LOOK_MS = 1000, HIDDEN_MS = 10_000;
const NEWS_MS = 250; // after news the server has put what it knows into words
let seenAt = ""; // what the page shows is of then
let timer = 0, due = 0, isLooking = false, hasNews = false, wasKnown = false;

function drawPipelines(names) {
  const links = (names.length > 1 ? names : []).map((name) => {
    const link = make("a", "", name);
    link.href = `#${encodeURIComponent(name)}`;
    if (name === pipeline()) link.setAttribute("aria-current", "page");
    return link;
  });
  arrange(at("pipelines"), links);
}

function drawLogin() {
  if (wasKnown && !isKnown()) return location.reload(); // what was told to who knew the token is not left on the screen
  wasKnown = isKnown();
  at("login").hidden = isKnown();
  at("s-frame").hidden = !isKnown();
  at("logout").hidden = !isKnown();
}

// On a phone the parts stand one below the other: the way to each of them. The address names the pipeline, so these are no links.
function drawJumps() {
  const parts = [...document.querySelectorAll("main > section:not([hidden]) > h2")];
  if ([...at("jumps").children].map((one) => one.textContent).join() === parts.map((one) => one.textContent).join()) return;
  at("jumps").replaceChildren(...parts.map((part) => button(part.textContent, () => part.scrollIntoView())));
}

const asOf = () => (seenAt ? `; what is shown is of ${clock(seenAt)}` : "");

async function look() {
  const answer = await ask("/pipeline"), run = answer.body;
  document.body.classList.toggle("stale", !answer.isGood);
  if (!answer.isGood) return say(at("about"), `${complaint(answer)}${asOf()}`);
  seenAt = run.at;
  say(at("name"), run.name);
  document.title = `${run.sickest.length ? "⚠ " : ""}${run.name}`;
  const since = run.seconds ? `; up for ${lasted(run.seconds)}` : "";
  say(at("about"), `${run.state}${since}, run ${run.run ?? "-"}, at ${clock(run.at)} ${zone(run.at)}`);
  drawSickest(run.sickest, new Set(run.nodes.map((node) => node.name)));
  drawGraph(run);
  drawLedger(run.edges);
  drawCameras(run.nodes);
  drawLogin();
  listen();
  await Promise.all([drawNode(run.nodes), drawLetters()]);
  drawJumps();
}

async function goOn() {
  isLooking = true;
  hasNews = false;
  try {
    if (!pipeline()) await begin();
    await look();
  } catch (fault) {
    document.body.classList.add("stale");
    say(at("about"), `no answer from the server (${fault.message}); it is asked again${asOf()}`);
  }
  isLooking = false;
  lookIn(hasNews ? NEWS_MS : document.hidden ? HIDDEN_MS : LOOK_MS);
}

function lookIn(wait) {
  clearTimeout(timer);
  due = performance.now() + wait;
  timer = setTimeout(goOn, wait);
}

function lookSoon() {
  hasNews = true;
  if (!isLooking && due - performance.now() > NEWS_MS) lookIn(NEWS_MS);
}

async function begin() {
  drawPipelines(await choose());
  await checkToken();
  drawLogin();
}

at("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = at("token").value;
  at("token").value = "";
  try {
    say(at("refused"), (await login(token)) ? "" : "this is not the token");
  } catch (fault) {
    say(at("refused"), `no answer from the server (${fault.message})`);
  }
  drawLogin();
});
at("logout").addEventListener("click", () => logout().then(drawLogin, () => {}));
window.addEventListener("hashchange", () => location.reload());
onChoice(chooseNode);
onCulprit(chooseNode);
onNews(lookSoon);
document.addEventListener("visibilitychange", () => document.hidden || lookSoon());
await begin().catch(() => {}); // the loop says that there is no answer
goOn();
