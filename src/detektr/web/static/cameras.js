// A picture of each camera, with what was found in it. A result and the picture of its frame are shown together or not at
// all: the server keeps the picture of the frame that a result was about, and the newest one where nobody returns results.
import {Known, arrange, at, clock, dress, make, say} from "./dom.js";
import {OFF, wanted} from "./graph.js";
import {Tracks, draw, shapes} from "./overlay.js";
import {isKnown, picture} from "./server.js";

const WIDTH = 640, ASKED_MAX = 3; // pictures at once: a browser has six connections, and some are for others
const QUIET_MS = 1500; // without a result for so long, the newest picture is shown
const FRAMES_MAX = 20; // of each camera, whose results may still get company from other nodes

const seen = new IntersectionObserver((changes) => {
  for (const change of changes) change.target.isSeen = change.isIntersecting;
});
let asked = 0;

class Camera {
  constructor(name) {
    this.name = name;
    this.figure = make("figure");
    this.canvas = make("canvas");
    this.canvas.setAttribute("role", "img");
    this.caption = make("figcaption");
    this.figure.append(this.canvas, this.caption);
    this.figure.dataset.camera = name;
    this.figure.dataset.shown = "0";
    this.frames = new Map(); // by frame: what was returned for it
    this.tracks = new Tracks();
    this.next = ""; // the frame to be shown next
    this.picture = null; // {frame, image, width}: what is shown
    this.resultAt = -QUIET_MS;
    this.isBusy = this.isDown = this.figure.isSeen = false;
    seen.observe(this.figure);
  }

  // `still` says whether the server has a picture of that frame.
  take({frame, node, data, still}) {
    const found = this.frames.get(frame) ?? {boxes: [], zones: []}, more = shapes(node, data);
    found.boxes.push(...more.boxes);
    found.zones.push(...more.zones);
    this.frames.set(frame, found);
    if (this.frames.size > FRAMES_MAX) this.frames.delete(this.frames.keys().next().value);
    this.tracks.note(more.boxes, performance.now());
    if (still) [this.next, this.resultAt] = [frame, performance.now()];
    if (this.picture?.frame === frame) this.paint();
  }

  get isDue() {
    return !this.isBusy && !this.isDown && this.figure.isSeen && !document.hidden;
  }

  // Asks for one picture, where there is a new one to show.
  async show() {
    const hasResults = performance.now() - this.resultAt < QUIET_MS, frame = hasResults ? this.next : "";
    if (hasResults && (!frame || frame === this.picture?.frame)) return;
    this.isBusy = true;
    asked++;
    try {
      const where = frame ? `/frames/${encodeURIComponent(frame)}/still.jpg` : `/nodes/${encodeURIComponent(this.name)}/latest.jpg?width=${WIDTH}`;
      const found = await picture(where);
      if (!found) return; // another one comes
      this.picture?.image.close();
      this.picture = {...found, frame: found.frame ?? frame};
      this.paint();
      this.figure.dataset.shown = String(Number(this.figure.dataset.shown) + 1);
    } catch (fault) {
      this.trouble = `no picture (${fault.message})`;
    } finally {
      asked--;
      this.isBusy = false;
    }
  }

  paint() {
    const {frame, image, whole} = this.picture, {canvas} = this, found = this.frames.get(frame);
    if (canvas.width !== image.width || canvas.height !== image.height) [canvas.width, canvas.height] = [image.width, image.height];
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    if (found) draw(pen, found, this.tracks, image.width / whole);
    this.trouble = "";
    this.figure.dataset.frame = frame;
    this.figure.dataset.boxes = JSON.stringify(found?.boxes.map(({box}) => box) ?? []);
    this.words = found ? found.boxes.map(({text}) => text).join(", ") : "";
    this.label();
  }

  label() {
    const rest = this.rest || this.trouble || this.words;
    say(this.caption, this.isDown ? this.down : `${this.name}${rest ? `: ${rest}` : ""}`);
    this.canvas.setAttribute("aria-label", this.isDown ? this.down : `${this.name} now${rest ? `: ${rest}` : ""}`);
  }

  state(node) {
    const isResting = OFF.has(node.state) || node.state === "paused";
    this.isDown = node.state !== "running" && !isResting;
    const words = this.picture ? "" : " No picture came while this page was open.";
    this.down = `${this.name}: ${node.state}${node.since ? ` since ${clock(node.since)}` : ""}${node.why ? `. ${node.why}` : ""}${this.isDown && words ? `.${words}` : ""}`;
    this.rest = isResting ? node.state : "";
    dress(this.figure, this.isDown ? "down" : isResting ? "off" : "");
    this.label();
  }
}

const cameras = new Known((name) => new Camera(name));

export function drawCameras(nodes) {
  const captures = nodes.filter((node) => node.kind === "capture");
  at("s-cameras").hidden = !isKnown() || !captures.length;
  if (!isKnown()) return;
  for (const node of captures) cameras.get(node.name).state(node);
  for (const [name, camera] of cameras.found)
    if (!captures.some((node) => node.name === name)) seen.unobserve(camera.figure);
  cameras.keep(captures.map((node) => node.name));
  arrange(at("cameras"), captures.filter(wanted).map((node) => cameras.get(node.name).figure));
}

// The id of a frame names its capture, which may be called otherwise than its camera: TIME_CAPTURE_CAMERA_SEQUENCE_MARK.
export function takeResult(result) {
  const rest = result.frame.slice(result.frame.indexOf("_") + 1);
  for (const [name, camera] of cameras.found)
    if (rest.startsWith(`${name}_${result.camera}_`)) camera.take(result);
}

let turn = 0;

// Five times a second: those that are in view and have waited longest come first.
setInterval(() => {
  if (!isKnown() || document.hidden) return;
  const all = [...cameras.found.values()];
  for (let tried = 0; tried < all.length && asked < ASKED_MAX; tried++) {
    const camera = all[turn++ % all.length];
    if (camera.isDue) camera.show();
  }
}, 200);
