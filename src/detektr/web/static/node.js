// One node, or all: its log lines, and what an operator can order. Each order is asked about first: it changes the run.
import {arrange, at, button, goTo, make, say} from "./dom.js";
import {ask, complaint, isKnown, order} from "./server.js";

const LOGS_MS = 3000, LOG_LINES = 200;
let logsAt = -LOGS_MS, chosen = "", orders = "", replicasOf = new Map();

async function command(words, rest, body) {
  if (!confirm(`${words}?`)) return;
  say(at("ordered"), `${words}: asked`);
  try {
    const answer = await order(rest, body);
    say(at("ordered"), answer.isGood ? `${words}: done` : `${words}: ${complaint(answer)}`);
  } catch (fault) {
    say(at("ordered"), `${words}: no answer from the server (${fault.message})`);
  }
}

// From the number that is shown at the click; one that the node may not have is refused, in words that name the key.
const scale = (name, step) => {
  const replicas = (replicasOf.get(name) ?? 1) + step;
  return command(`scale ${name} to ${replicas}`, `/nodes/${encodeURIComponent(name)}/scale`, {replicas});
};

function ordersOf(node) {
  if (!node) return [];
  const {name} = node, where = `/nodes/${encodeURIComponent(name)}`, isPaused = node.state === "paused";
  const post = (word, rest) => [word, () => command(`${word} ${name}`, rest)];
  const found = [isPaused ? post("resume", `${where}/resume`) : post("pause", `${where}/pause`), post("restart", `${where}/restart`)];
  if (node.max_replicas > 1) found.push(["one more replica", () => scale(name, 1)], ["one fewer", () => scale(name, -1)]);
  if (node.kind === "buffer") found.push(post("clear", `/buffer/clear?node=${encodeURIComponent(name)}`));
  return found;
}

function drawOrders(node) {
  say(at("orders-hint"), node ? "" : "choose a node to pause, resume or restart it, or to scale it where its max_replicas says how far");
  const found = ordersOf(node), key = JSON.stringify([node?.name, ...found.map(([word]) => word)]);
  if (key === orders) return; // buttons that stay keep their focus
  orders = key;
  at("orders").replaceChildren(...found.map(([word, act]) => button(word, act)));
}

export function chooseNode(name) {
  at("node").value = name;
  chosen = at("node").value;
  logsAt = -LOGS_MS;
  say(at("ordered"), "");
  goTo(at("s-node"));
}

export async function drawNode(nodes) {
  at("s-node").hidden = !isKnown();
  if (!isKnown()) return;
  replicasOf = new Map(nodes.map((node) => [node.name, node.replicas]));
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
