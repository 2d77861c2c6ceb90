// The film of a new presenter: a file that is chosen or dropped, or a recording made right here.
import { onLanguage, setText, t } from "../i18n.js";

const SILENT_S = 10;
const LONGEST_S = 120;
const MIB = 1 << 20;
const BITS_PER_SECOND = 8_000_000;
const TYPES = ["video/mp4;codecs=avc1.640028,mp4a.40.2", "video/webm;codecs=vp9,opus", "video/webm"];
const WANTED = {
  video: { width: { ideal: 1920 }, height: { ideal: 1080 }, frameRate: { ideal: 30 } },
  // As it is: this voice may later train the mouth.
  audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
};
const CAMERA_ERRORS = {
  NotAllowedError: "create.error.cameraBlocked",
  NotFoundError: "create.error.cameraMissing",
  NotReadableError: "error.micBusy",
};

const byId = (id) => document.getElementById(id);
const box = byId("film");
const drop = byId("film-drop");
const field = byId("film-file");
const view = byId("film-view");
const video = byId("film-video");
const cue = byId("film-cue");
const nameLine = byId("film-name");

const isPackage = (file) => /\.zip$/i.test(file.name) || file.type.includes("zip");
/** Some systems know no type for what cameras make; the server looks into it anyway. */
const maybeVideo = (file) => file.type === "" || file.type.startsWith("video/") || isPackage(file);

function sized(bytes) {
  return bytes < 10 * MIB ? `${(bytes / MIB).toFixed(1)} MB` : `${Math.round(bytes / MIB)} MB`;
}

/** Step one of the dialog. Calls `onChange()` when there is another film or none, `onError(key)` for troubles. */
export class Film {
  file = null;
  #onChange;
  #onError;
  #stream = null;
  #recorder = null;
  #clock = 0;

  constructor(onChange, onError) {
    this.#onChange = onChange;
    this.#onError = onError;
    field.addEventListener("change", () => this.#take(field.files[0]));
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      box.addEventListener(kind, (event) => this.#drag(event, kind));
    }
    byId("film-camera").addEventListener("click", () => this.#openCamera());
    byId("film-start").addEventListener("click", () => this.#record());
    byId("film-stop").addEventListener("click", () => this.#recorder?.stop());
    byId("film-again").addEventListener("click", () => this.clear());
    onLanguage(() => this.#nameFile());
  }

  /** Whether the file is a presenter that was exported, not a video. */
  get packed() {
    return this.file !== null && isPackage(this.file);
  }

  /** Forgets the film and lets go of the camera. */
  clear() {
    this.release();
    this.file = null;
    field.value = "";
    if (video.src) URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
    this.#show("none");
    this.#onChange();
  }

  /** Lets go of the camera; a film that is there stays. */
  release() {
    if (this.#recorder) this.#recorder.onstop = null;
    this.#recorder = null;
    clearInterval(this.#clock);
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    video.srcObject = null;
    if (!this.file) this.#show("none");
  }

  #drag(event, kind) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") this.#take(event.dataTransfer.files[0]);
  }

  #take(file) {
    if (!file) return;
    if (!maybeVideo(file) || file.size === 0) {
      this.#onError(file.size === 0 ? "create.error.empty" : "create.error.noVideo");
      return;
    }
    this.release();
    this.file = file;
    if (video.src) URL.revokeObjectURL(video.src);
    if (this.packed) video.removeAttribute("src");
    else {
      video.src = URL.createObjectURL(file);
      video.controls = true;
    }
    this.#nameFile();
    this.#show(this.packed ? "package" : "file");
    this.#onChange();
  }

  #nameFile() {
    if (!this.file) return;
    const what = this.packed ? t("create.film.package") : this.file.name;
    nameLine.textContent = `${what} · ${sized(this.file.size)}`;
  }

  async #openCamera() {
    if (!navigator.mediaDevices?.getUserMedia || typeof MediaRecorder === "undefined") {
      this.#onError("create.error.cameraInsecure");
      return;
    }
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia(WANTED);
    } catch (error) {
      this.#onError(CAMERA_ERRORS[error.name] ?? "create.error.cameraMissing");
      return;
    }
    this.#onError(null);
    video.controls = false;
    video.srcObject = this.#stream;
    video.muted = true;
    video.play().catch(() => {});
    this.#cue("create.film.ready", null);
    this.#show("camera");
    byId("film-start").focus();
  }

  #record() {
    const parts = [];
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const recorder = new MediaRecorder(this.#stream, { mimeType, videoBitsPerSecond: BITS_PER_SECOND });
    this.#recorder = recorder;
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onstop = () => {
      const type = recorder.mimeType.split(";")[0];
      this.#take(new File(parts, type === "video/mp4" ? "recording.mp4" : "recording.webm", { type }));
      byId("create-next").focus();
    };
    recorder.start(1000);
    this.#show("recording");
    byId("film-stop").focus();
    const since = performance.now();
    const tick = () => {
      const gone = Math.floor((performance.now() - since) / 1000);
      if (gone >= LONGEST_S) recorder.stop();
      else if (gone < SILENT_S) this.#cue("create.film.silent", SILENT_S - gone);
      else this.#cue("create.film.talk", LONGEST_S - gone);
    };
    tick();
    this.#clock = setInterval(tick, 200);
  }

  #cue(key, seconds) {
    setText(byId("film-cue-text"), key);
    byId("film-cue-left").textContent = seconds === null ? "" : `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }

  #show(state) {
    box.dataset.state = state;
    const live = state === "camera" || state === "recording";
    drop.hidden = state !== "none";
    view.hidden = !live && state !== "file";
    cue.hidden = !live;
    nameLine.hidden = state !== "file" && state !== "package";
    byId("film-camera").hidden = state !== "none";
    byId("film-start").hidden = state !== "camera";
    byId("film-stop").hidden = state !== "recording";
    byId("film-again").hidden = state === "none" || state === "recording";
  }
}
