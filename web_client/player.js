// The bare player: one picture, one sound, no controls. Made for OBS browser sources and second screens.
import { whepUrl } from "./api.js";
import { setText, translate } from "./i18n.js";
import { drawCutOut } from "./matte.js";
import { Viewer } from "./whep.js";

const video = document.getElementById("video");
const message = document.getElementById("message");
const query = new URLSearchParams(location.search);
const id = query.get("session");
const silent = query.get("muted") === "1";
const transparent = query.get("background") === "transparent";
/** What is looked at: the video itself, or the presenter cut out of it. */
const picture = transparent ? document.getElementById("cutout") : video;

/** The server's answer for a presenter that cannot be cut out. */
const NO_MATTE = 422;

/** The answer of a cluster for a session whose machine is gone. */
const LOST = 410;

/** Failures that heal within this time are never shown. */
const QUIET_MS = 1500;
let failure = null;
let messageTimer = 0;

/** Retries fail again and again: only the first one starts the clock. */
function say(key) {
  if (failure === null) messageTimer = setTimeout(() => setText(message, failure), QUIET_MS);
  else if (message.textContent) setText(message, key);
  failure = key;
}

function hush() {
  clearTimeout(messageTimer);
  failure = null;
  delete message.dataset.i18n;
  message.textContent = "";
}

/** Plays with sound where the browser allows it, otherwise without until the first touch or key. */
async function play() {
  video.muted = silent;
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError") return;
    video.muted = true;
    await video.play().catch(() => {});
  }
}

function unmute() {
  if (!silent && video.srcObject) video.muted = false;
}

function onState(state, error) {
  if (state === "live" || state === "connecting") return;
  if (state === "gone" || state === "refused") picture.hidden = true;
  if (transparent && error?.status === NO_MATTE) say("player.noMatte");
  else if (error?.status === LOST) say("player.machineGone");
  else say(`player.${state}`);
}

function address() {
  const url = new URL(whepUrl(id), location.href);
  if (transparent) url.searchParams.set("alpha", "1");
  return url.href;
}

translate();
picture.hidden = true;
video.classList.toggle("source", transparent);
video.addEventListener("playing", () => {
  picture.hidden = false;
  hush();
});
for (const gesture of ["pointerdown", "keydown"]) window.addEventListener(gesture, unmute);

if (!id) {
  setText(message, "player.noSession");
} else if (transparent && !drawCutOut(video, picture)) {
  setText(message, "player.noWebGl");
} else {
  const viewer = new Viewer(address(), {
    onState,
    onStream: (stream) => {
      video.srcObject = stream;
      play();
    },
  });
  viewer.run({ retryGone: true });
  window.addEventListener("pagehide", () => viewer.stop());
  // A page that comes back from the back/forward cache has a dead connection: begin anew.
  window.addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
}
