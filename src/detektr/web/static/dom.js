// Making and changing elements. Nothing that comes from a run is ever markup: it goes into `textContent`, or nowhere.

export const at = (id) => document.getElementById(id);

export function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// What stands between backticks is code: a key of the file, or a command.
export function written(tag, className, text) {
  const made = make(tag, className);
  text.split("`").forEach((part, place) => made.append(place % 2 ? make("code", "", part) : part));
  return made;
}

// A text is set only where it changes: what is marked with the mouse stays so, and screen readers say nothing twice.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The same for a text with code in it.
export function write(element, text) {
  if (element.dataset.words === text) return;
  element.dataset.words = text;
  element.replaceChildren(...written("span", "", text).childNodes);
}

export function dress(element, className) {
  if (element.className !== className) element.className = className;
}

// To what is asked for, where it is not in view. It may have become longer than it was: call this once it is there.
export const goTo = (element) => element.scrollIntoView({block: "nearest"});

export function button(text, act) {
  const made = make("button", "", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

// Makes the children of `parent` those of `wanted`, in order; elements that are there already stay, with their focus.
export function arrange(parent, wanted) {
  wanted.forEach((child, place) => {
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
  });
  while (parent.children.length > wanted.length) parent.lastElementChild.remove();
}

// Adds the newest entry of a list; the oldest ones beyond `most` go.
export function prepend(list, item, most) {
  list.prepend(item);
  while (list.childElementCount > most) list.lastElementChild.remove();
}

// Elements by name, for what is drawn again and again: `get` makes one that is missing, `keep` forgets the others.
export class Known {
  constructor(create) {
    this.create = create;
    this.found = new Map();
  }

  get(name) {
    if (!this.found.has(name)) this.found.set(name, this.create(name));
    return this.found.get(name);
  }

  keep(names) {
    const wanted = new Set(names);
    for (const name of this.found.keys()) if (!wanted.has(name)) this.found.delete(name);
  }
}

// -- numbers and times in words --------------------------------------------------------------------------------------

export const sum = (counts) => Object.values(counts ?? {}).reduce((total, count) => total + count, 0);

export const number = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/\.0+$/, "");

const isToday = (moment) => moment.toDateString() === new Date().toDateString();

const twoDigits = (count) => String(count).padStart(2, "0");

// A time of this machine's zone as `detektr why` writes it, whatever the browser's language; with the day where it is not today's.
export function clock(utc) {
  if (!utc) return "";
  const moment = new Date(utc);
  if (Number.isNaN(moment.getTime())) return "";
  const time = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(twoDigits).join(":");
  if (isToday(moment)) return time;
  return `${[moment.getFullYear(), moment.getMonth() + 1, moment.getDate()].map(twoDigits).join("-")} ${time}`;
}

// What a time of this machine's zone is ahead of UTC: who reads the log of a machine elsewhere needs it.
export function zone(utc) {
  const minutes = -new Date(utc).getTimezoneOffset(), ahead = Math.abs(minutes);
  return minutes ? `UTC${minutes < 0 ? "-" : "+"}${twoDigits(Math.floor(ahead / 60))}:${twoDigits(ahead % 60)}` : "UTC";
}

export function lasted(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}
