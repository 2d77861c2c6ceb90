// A level meter: green, amber and red segments with a peak that lingers.

const SEGMENTS = 32;
const FLOOR_DB = -60;
const AMBER_DB = -18;
const RED_DB = -6;
const FALL_DB_PER_S = 26;
const COLOURS = { off: "#262c37", green: "#3ddc97", amber: "#ffc14d", red: "#ff5f57" };

const dbOf = (segment) => FLOOR_DB + ((segment + 1) / SEGMENTS) * -FLOOR_DB;

function colourOf(segment) {
  const db = dbOf(segment);
  if (db > RED_DB) return COLOURS.red;
  return db > AMBER_DB ? COLOURS.amber : COLOURS.green;
}

/** Draws a track's level into a canvas and tells it to assistive technology through its role="meter". */
export class LevelMeter {
  #canvas;
  #context = null;
  #source = null;
  #analyser = null;
  #shown = FLOOR_DB;
  #peak = FLOOR_DB;
  #last = 0;
  #frame = 0;

  /** Loudest level in dBFS since the last call of `takeLoudest`. */
  #loudest = FLOOR_DB;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#draw();
  }

  /** Listens to `track` until `stop` or another `start`. */
  start(track) {
    this.stop();
    this.#context ??= new AudioContext();
    // A context made before the user's gesture starts suspended in Safari and Chrome.
    if (this.#context.state === "suspended") this.#context.resume();
    this.#analyser = this.#context.createAnalyser();
    this.#analyser.fftSize = 1024;
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
    const samples = new Float32Array(this.#analyser.fftSize);
    const step = (now) => {
      this.#measure(samples, now);
      this.#draw();
      this.#frame = requestAnimationFrame(step);
    };
    this.#frame = requestAnimationFrame(step);
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#source?.disconnect();
    this.#source = null;
    this.#shown = this.#peak = this.#loudest = FLOOR_DB;
    this.#draw();
  }

  takeLoudest() {
    const loudest = this.#loudest;
    this.#loudest = FLOOR_DB;
    return loudest;
  }

  #measure(samples, now) {
    this.#analyser.getFloatTimeDomainData(samples);
    let top = 0;
    for (const sample of samples) top = Math.max(top, Math.abs(sample));
    const level = Math.max(FLOOR_DB, 20 * Math.log10(Math.max(top, 1e-6)));
    const fallen = ((now - (this.#last || now)) / 1000) * FALL_DB_PER_S;
    this.#last = now;
    this.#shown = Math.max(level, this.#shown - fallen, FLOOR_DB);
    this.#peak = Math.max(level, this.#peak - fallen / 3, FLOOR_DB);
    this.#loudest = Math.max(this.#loudest, level);
  }

  #draw() {
    const canvas = this.#canvas;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round((canvas.clientWidth || 300) * ratio);
    const height = Math.round((canvas.clientHeight || 14) * ratio);
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const pen = canvas.getContext("2d");
    const pitch = width / SEGMENTS;
    const peak = Math.ceil(((this.#peak - FLOOR_DB) / -FLOOR_DB) * SEGMENTS) - 1;
    pen.clearRect(0, 0, width, height);
    for (let segment = 0; segment < SEGMENTS; segment += 1) {
      const lit = dbOf(segment) <= this.#shown || segment === peak;
      pen.fillStyle = lit ? colourOf(segment) : COLOURS.off;
      pen.fillRect(Math.round(segment * pitch), 0, Math.max(1, Math.round(pitch - 2 * ratio)), height);
    }
    const level = String(Math.round(this.#shown));
    if (canvas.getAttribute("aria-valuenow") !== level) canvas.setAttribute("aria-valuenow", level);
  }
}
