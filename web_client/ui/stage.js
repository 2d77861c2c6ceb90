// The stage: picture, sound, tally, clock and full screen.
import { setText, t } from "../i18n.js";

const byId = (id) => document.getElementById(id);
const stage = byId("stage");
const video = byId("video");
const poster = byId("poster");
const muteButton = byId("stage-mute");
const volume = byId("stage-volume");
const fullButton = byId("stage-full");

/**
 * Whether the stage is silent, remembered apart for talking and for listening: while the own microphone is live
 * the loudspeakers would give one's voice back late (and into the microphone), otherwise one wants to hear.
 */
const muted = { talking: true, listening: false };
let mode = "listening";
let clock = 0;

function showSound() {
  video.muted = muted[mode];
  stage.dataset.muted = String(video.muted);
  muteButton.setAttribute("aria-label", t(video.muted ? "stage.unmute" : "stage.mute"));
}

function showFull() {
  const full = document.fullscreenElement === stage;
  fullButton.dataset.i18nLabel = full ? "stage.fullExit" : "stage.full";
  fullButton.setAttribute("aria-label", t(fullButton.dataset.i18nLabel));
}

/** Puts a presenter's still picture on the stage. */
export function showPoster(url) {
  poster.src = url;
  poster.hidden = false;
  byId("backdrop").style.backgroundImage = `url("${new URL(url, location.href)}")`;
}

/** Plays a received stream; the poster gives way when the first frame is there. */
export async function playStream(stream) {
  video.srcObject = stream;
  showSound();
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError") return;
    // Without a recent gesture a browser plays only silently; the mute button then gives the sound back.
    muted[mode] = true;
    showSound();
    await video.play().catch(() => {});
  }
}

export function clearStage() {
  video.srcObject = null;
  delete stage.dataset.playing;
  clearInterval(clock);
}

/** Tells the stage whether the user's own microphone is heard. */
export function setTalking(talking) {
  mode = talking ? "talking" : "listening";
  showSound();
}

/** Shows a page state ("start", "connecting", "standby", "speaking", "reconnecting") on the tally. */
export function setTally(state) {
  byId("tally").dataset.state = state;
  setText(byId("tally-text"), `tally.${state}`);
}

/** Starts the clock of the time on air. */
export function startClock() {
  const since = performance.now();
  const show = () => {
    const seconds = Math.floor((performance.now() - since) / 1000);
    const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    byId("elapsed").textContent = parts.map((part) => String(part).padStart(2, "0")).join(":");
  };
  clearInterval(clock);
  clock = setInterval(show, 1000);
  show();
}

export const refreshStageTexts = () => {
  showSound();
  showFull();
};

video.addEventListener("playing", () => {
  stage.dataset.playing = "true";
});
muteButton.addEventListener("click", () => {
  muted[mode] = !muted[mode];
  if (!muted[mode] && Number(volume.value) === 0) volume.value = "100";
  video.volume = Number(volume.value) / 100;
  showSound();
});
volume.addEventListener("input", () => {
  video.volume = Number(volume.value) / 100;
  muted[mode] = Number(volume.value) === 0;
  showSound();
});
// iPhones give full screen to <video> alone.
fullButton.addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (stage.requestFullscreen) stage.requestFullscreen();
  else video.webkitEnterFullscreen?.();
});
document.addEventListener("fullscreenchange", showFull);
showSound();
