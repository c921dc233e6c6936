// What a result says of its frame, as shapes over its picture. Results are data of whoever wrote the processor: numbers that
// are none, and texts that look like markup, come to nothing worse than no shape.
//
// A result is drawn if it has `detections`, a list of {box: [x, y, width, height], label, score, track, zones: [name]}, or a
// `box` of its own (as motion has it), and `zones`, a list of {name, points: [[x, y], ...]}. All in pixels of the frame.

const SHAPES_MAX = 200, POINTS_MAX = 100, TEXT_MAX = 40;
const TRACKS_MAX = 100, TRACK_POINTS_MAX = 30, TRACK_MS_MAX = 3000;

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const isBox = (value) => Array.isArray(value) && value.length === 4 && value.every(isNumber);
const isPoint = (value) => Array.isArray(value) && value.length === 2 && value.every(isNumber);
const list = (value) => (Array.isArray(value) ? value.slice(0, SHAPES_MAX) : []);
const short = (value) => (typeof value === "string" || isNumber(value) ? String(value).slice(0, TEXT_MAX) : "");

function words(found) {
  const zones = list(found.zones).map(short).filter(Boolean);
  const parts = [short(found.label)];
  if (isNumber(found.score)) parts.push(found.score.toFixed(2));
  if (short(found.track)) parts.push(`#${short(found.track)}`);
  if (zones.length) parts.push(`in ${zones.join(", ")}`);
  return parts.filter(Boolean).join(" ").slice(0, 2 * TEXT_MAX);
}

// Returns {boxes: [{box, text, track}], zones: [{text, points}]} of one result; `node` is who returned it.
export function shapes(node, result) {
  const found = {boxes: [], zones: []};
  if (result === null || typeof result !== "object") return found;
  for (const one of list(result.detections))
    if (one && isBox(one.box)) found.boxes.push({box: one.box, text: words(one) || node, track: short(one.track) && `${node} ${short(one.track)}`});
  if (isBox(result.box) && result.state !== "ended")
    found.boxes.push({box: result.box, text: words(result) || short(result.event) || node, track: ""});
  for (const one of list(result.zones))
    if (one && Array.isArray(one.points)) {
      const points = one.points.slice(0, POINTS_MAX).filter(isPoint);
      if (points.length > 1) found.zones.push({text: short(one.name), points});
    }
  return found;
}

// Where tracks were in the last seconds, for the line behind each of them.
export class Tracks {
  constructor() {
    this.known = new Map();
  }

  note(boxes, now) {
    for (const {box, track} of boxes) {
      if (!track) continue;
      const [x, y, width, height] = box, points = this.known.get(track)?.points ?? [];
      this.known.delete(track);
      this.known.set(track, {at: now, points: [...points, [x + width / 2, y + height]].slice(-TRACK_POINTS_MAX)});
    }
    for (const [track, {at}] of this.known)
      if (now - at > TRACK_MS_MAX || this.known.size > TRACKS_MAX) this.known.delete(track);
  }

  of(track) {
    return this.known.get(track)?.points ?? [];
  }
}

// A colour that stays with its text, apart from black and white.
function colour(text) {
  let hash = 0;
  for (const letter of text) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  return `hsl(${hash} 95% 60%)`;
}

function line(pen, points, scale, isClosed) {
  pen.beginPath();
  points.forEach(([x, y], place) => (place ? pen.lineTo(x * scale, y * scale) : pen.moveTo(x * scale, y * scale)));
  if (isClosed) pen.closePath();
  pen.stroke();
}

function caption(pen, text, x, y, ink, size) {
  pen.font = `${size}px system-ui, sans-serif`;
  const width = pen.measureText(text).width + size / 2, top = y < size * 1.4 ? y : y - size * 1.4;
  const left = Math.max(0, Math.min(x, pen.canvas.width - width));
  pen.fillStyle = ink;
  pen.fillRect(left, top, width, size * 1.4);
  pen.fillStyle = "#000";
  pen.fillText(text, left + size / 4, top + size * 1.05);
}

// Draws shapes over a picture that lies on the canvas already; `scale` is its size by that of the frame.
export function draw(pen, found, tracks, scale) {
  const unit = Math.max(2, pen.canvas.width / 320), size = Math.max(11, pen.canvas.width / 40);
  pen.lineWidth = unit;
  for (const {text, points} of found.zones) {
    pen.setLineDash([4 * unit, 3 * unit]);
    pen.strokeStyle = colour(text);
    line(pen, points, scale, points.length > 2);
    pen.setLineDash([]);
    if (text) caption(pen, text, points[0][0] * scale, points[0][1] * scale, colour(text), size);
  }
  for (const {box, text, track} of found.boxes) {
    const [x, y, width, height] = box.map((value) => value * scale), ink = colour(track || text.split(" ")[0]);
    pen.strokeStyle = ink;
    pen.strokeRect(x, y, width, height);
    if (track) line(pen, tracks.of(track), scale, false);
    caption(pen, text, x, y, ink, size);
  }
}
