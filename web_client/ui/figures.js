// Six live figures, each with the last minute as a line.
import { t } from "../i18n.js";

const HISTORY = 60;
const SVG = "http://www.w3.org/2000/svg";

const fixed = (digits) => (value) => value.toFixed(digits);

/** `scale` turns a reading into the shown unit; `warn` and `bad` are limits in that unit (`low`: smaller is worse). */
const FIGURES = [
  { key: "fps", field: "fps", unit: "fps", scale: 1, format: fixed(1), warn: 23, bad: 18, low: true },
  { key: "delay", field: "delayMs", unit: "ms", scale: 1, format: fixed(0), warn: 300, bad: 600, note: "figures.delayNote" },
  { key: "roundTrip", field: "roundTripMs", unit: "ms", scale: 1, format: fixed(0), warn: 150, bad: 300 },
  { key: "late", field: "lateRatio", unit: "%", scale: 100, format: fixed(1), warn: 1, bad: 5, note: "figures.lateNote" },
  { key: "bitrate", field: "bitrate", unit: "Mbps", scale: 1e-6, format: fixed(2) },
  { key: "loss", field: "lossRatio", unit: "%", scale: 100, format: fixed(1), warn: 1, bad: 5 },
];

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function judge({ warn, bad, low }, value) {
  if (warn === undefined || value === null) return "";
  const worse = (limit) => (low ? value < limit : value > limit);
  if (worse(bad)) return "bad";
  return worse(warn) ? "warn" : "good";
}

class Tile {
  #figure;
  #value = element("span", "value empty", "–");
  #line = document.createElementNS(SVG, "polyline");
  #history = [];

  constructor(figure, list) {
    this.#figure = figure;
    const label = element("dt", "", t(`figures.${figure.key}`));
    label.dataset.i18n = `figures.${figure.key}`;
    const reading = element("dd", "");
    reading.append(this.#value, element("span", "unit", figure.unit));
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", `0 0 ${HISTORY - 1} 20`);
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("aria-hidden", "true");
    picture.append(this.#line);
    this.box = element("div", "figure");
    this.box.dataset.figure = figure.key;
    if (figure.note) {
      this.box.dataset.i18nTitle = figure.note;
      this.box.title = t(figure.note);
    }
    this.box.append(label, reading);
    reading.append(picture);
    list.append(this.box);
  }

  show(readings) {
    const raw = readings?.[this.#figure.field] ?? null;
    const value = raw === null ? null : raw * this.#figure.scale;
    this.#value.textContent = value === null ? "–" : this.#figure.format(value);
    this.#value.classList.toggle("empty", value === null);
    this.box.dataset.level = judge(this.#figure, value);
    this.#history = readings ? [...this.#history, value ?? 0].slice(-HISTORY) : [];
    const top = Math.max(1e-9, ...this.#history) * 1.15;
    const from = HISTORY - this.#history.length;
    const points = this.#history.map((past, index) => `${from + index},${(19 - (past / top) * 18).toFixed(1)}`);
    this.#line.setAttribute("points", points.join(" "));
  }
}

/** Builds the tiles into a <dl>; the returned function shows one reading, null empties them. */
export function buildFigures(list) {
  const tiles = FIGURES.map((figure) => new Tile(figure, list));
  return (readings) => {
    for (const tile of tiles) tile.show(readings);
  };
}
