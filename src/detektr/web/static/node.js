// One node, or all: its log lines, and what an operator can order. Each order is asked about first: it changes the run.
import {arrange, at, button, make, say} from "./dom.js";
import {ask, complaint, isKnown, order} from "./server.js";

const LOGS_MS = 3000, LOG_LINES = 200;
let logsAt = -LOGS_MS, chosen = "", orders = "";

async function command(words, rest) {
  if (!confirm(`${words}?`)) return;
  say(at("ordered"), `${words}: asked`);
  try {
    const answer = await order(rest);
    say(at("ordered"), answer.isGood ? `${words}: done` : `${words}: ${complaint(answer)}`);
  } catch (fault) {
    say(at("ordered"), `${words}: no answer from the server (${fault.message})`);
  }
}

function ordersOf(node) {
  if (!node) return [];
  const where = `/nodes/${encodeURIComponent(node.name)}`, isPaused = node.state === "paused";
  const found = [isPaused ? ["resume", `${where}/resume`] : ["pause", `${where}/pause`], ["restart", `${where}/restart`]];
  if (node.kind === "buffer") found.push(["clear", `/buffer/clear?node=${encodeURIComponent(node.name)}`]);
  return found;
}

function drawOrders(node) {
  const found = ordersOf(node), key = JSON.stringify(found);
  if (key === orders) return; // buttons that stay keep their focus
  orders = key;
  at("orders").replaceChildren(...found.map(([word, rest]) => button(word, () => command(`${word} ${node.name}`, rest))));
}

export function chooseNode(name) {
  at("node").value = name;
  chosen = at("node").value;
  logsAt = -LOGS_MS;
  say(at("ordered"), "");
  at("s-node").scrollIntoView({block: "nearest"});
}

export async function drawNode(nodes) {
  at("s-node").hidden = !isKnown();
  if (!isKnown()) return;
  const names = nodes.map((node) => node.name), options = at("node");
  if ([...options.options].slice(1).map((one) => one.value).join("\n") !== names.join("\n")) {
    arrange(options, [options.options[0], ...names.map((name) => make("option", "", name))]);
    options.value = names.includes(chosen) ? chosen : "";
    chosen = options.value;
  }
  drawOrders(nodes.find((node) => node.name === chosen));
  if (document.hidden || performance.now() - logsAt < LOGS_MS) return;
  logsAt = performance.now();
  const where = chosen ? `&node=${encodeURIComponent(chosen)}` : "";
  const answer = await ask(`/logs?lines=${LOG_LINES}${where}`), pane = at("logs");
  const isAtEnd = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 30;
  say(pane, answer.isGood ? answer.body : complaint(answer));
  if (isAtEnd) pane.scrollTop = pane.scrollHeight;
}

at("node").addEventListener("change", () => chooseNode(at("node").value));
