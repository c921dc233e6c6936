// What the page asks its server, and nobody else. The token goes to `/session` once; a cookie that no script can read stands for it.

const ASK_MS = 15_000, ORDER_MS = 150_000; // for an answer: a line that is dead says nothing by itself
const PICTURE_MS = 10_000;

let name = decodeURIComponent(location.hash.slice(1));
let known = false;

// Whether the server takes us for who knows the token.
export const isKnown = () => known;
export const pipeline = () => name;
export const path = (rest) => (name ? `/pipelines/${encodeURIComponent(name)}${rest}` : rest);

export async function ask(rest, options) {
  const answer = await fetch(path(rest), {cache: "no-store", signal: AbortSignal.timeout(ASK_MS), ...options});
  const isJson = (answer.headers.get("Content-Type") ?? "").includes("json");
  const body = isJson ? await answer.json() : await answer.text();
  if (answer.status === 401) known = false;
  return {status: answer.status, isGood: answer.ok, body, headers: answer.headers};
}

// Returns a picture as {image, frame, whole}, with the id of its frame and that frame's width; null: it is gone.
export async function picture(rest) {
  const answer = await fetch(path(rest), {cache: "no-store", signal: AbortSignal.timeout(PICTURE_MS)});
  if (!answer.ok) return null;
  const image = await createImageBitmap(await answer.blob());
  return {image, frame: answer.headers.get("X-Detektr-Frame"), whole: Number(answer.headers.get("X-Detektr-Width")) || image.width};
}

const posted = (body) => ({method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});

export const order = (rest, body = {}) =>
  ask(rest, {...posted(body), signal: AbortSignal.timeout(ORDER_MS)});

// What an answer says that is none: its detail and what to do, in the server's own words.
export function complaint({status, body}) {
  const said = [body?.detail, body?.next].filter(Boolean).join("; ");
  return said || `the server answers ${status}`;
}

// Returns the pipelines of the server; the first one is shown unless the address names another.
export async function choose() {
  const answer = await fetch("/pipelines", {cache: "no-store", signal: AbortSignal.timeout(ASK_MS)});
  const found = answer.ok ? await answer.json() : [];
  if (!name && found.length) name = found[0].name;
  return found.map((one) => one.name);
}

export async function checkToken() {
  const answer = await fetch("/session", {cache: "no-store", signal: AbortSignal.timeout(ASK_MS)});
  if (answer.ok) known = Boolean((await answer.json()).known);
}

export async function login(token) {
  const answer = await fetch("/session", posted({token}));
  await checkToken();
  return answer.ok;
}

export async function logout() {
  await fetch("/session", {method: "DELETE"});
  await checkToken();
}
