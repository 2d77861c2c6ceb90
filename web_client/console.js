// The console: choose a presenter, connect, talk or type, interrupt, watch the figures, end.
import * as api from "./api.js";
import { language, onLanguage, pick, setLanguage, setText, translate } from "./i18n.js";
import { Gauge } from "./stats.js";
import { onTokenWanted } from "./token.js";
import { Creation } from "./ui/create.js";
import { OwnTools } from "./ui/own_tools.js";
import { Clips } from "./ui/clips.js";
import { buildFigures } from "./ui/figures.js";
import { showLink } from "./ui/link.js";
import { announce, clearError, explain, showError, shownError } from "./ui/notices.js";
import { Outlets } from "./ui/outlets.js";
import { Change, checkPresenter, namePresenters, showPresenters } from "./ui/presenters.js";
import { askForToken } from "./ui/sign_in.js";
import * as stage from "./ui/stage.js";
import { Talk } from "./ui/talk.js";
import { Viewer } from "./whep.js";

const POLL_MS = 1000;

const byId = (id) => document.getElementById(id);
const connectButton = byId("connect");
const endButton = byId("end");
const text = byId("text");
const presenters = byId("presenters");

/** `session` is null, or {id, whip, whep, viewer} from the moment the server has made it. */
const page = { state: "start", avatars: [], chosen: null, session: null };
const gauge = new Gauge();
const showFigures = buildFigures(byId("figures"));
const outlets = new Outlets(() => page.session?.id ?? null);
const ownTools = new OwnTools(() => page.session === null);
const clips = new Clips(() => page.session?.id ?? null);
const change = new Change(presenters, () => page.session?.id ?? null, onChange);
const talk = new Talk(() => page.session?.whip, stage.setTalking);

function setState(state) {
  page.state = state;
  document.body.dataset.state = state;
  const atStart = state === "start";
  const connecting = state === "connecting";
  presenters.disabled = connecting;
  byId("controls").disabled = atStart || connecting;
  connectButton.disabled = !page.chosen;
  connectButton.setAttribute("aria-disabled", String(!atStart));
  setText(byId("connect-text"), connecting ? "stage.connecting" : "stage.connect");
  endButton.hidden = atStart;
  byId("stage-bar").hidden = atStart || connecting;
  byId("link-row").hidden = atStart || connecting;
  byId("outlets-card").hidden = atStart || connecting;
  setText(byId("output-hint"), atStart || connecting ? "output.empty" : "output.hint");
  stage.setTally(state === "connected" ? "standby" : state);
}

async function connect() {
  if (page.state !== "start" || !page.chosen) return;
  if (typeof RTCPeerConnection === "undefined") {
    showError("error.noWebRtc");
    return;
  }
  clearError();
  setState("connecting");
  let made;
  try {
    made = await api.createSession(page.chosen.name);
  } catch (error) {
    setState("start");
    explain(error, "create");
    return;
  }
  const session = { ...made, viewer: null };
  page.session = session;
  session.viewer = new Viewer(made.whep, {
    onState: (state, error) => onView(session, state, error),
    onStream: (stream) => stage.playStream(stream),
  });
  session.viewer.run();
  poll(session);
  showLink(session.id, () => page.session === session);
}

function onView(session, state, error) {
  if (page.session !== session) return;
  if (state === "live") {
    const first = page.state === "connecting";
    setState("connected");
    if (first) {
      stage.startClock();
      byId("mic-on").focus({ preventScroll: true });
    }
    if (shownError() === "error.lost") clearError();
    announce(first ? "says.connected" : "says.back");
  } else if (state === "gone") {
    afterLoss(error);
  } else if (state === "refused" || (state === "lost" && page.state === "connecting")) {
    end();
    if (error) explain(error, "view");
    else showError("error.noPicture");
  } else if (state === "lost") {
    // A short break heals by itself within a second; the tally alone tells it. Only a failed retry is an error.
    if (page.state === "reconnecting") showError("error.lost");
    setState("reconnecting");
    announce("tally.reconnecting");
  }
}

/** The session is no more on the server; where its machine is gone, the next session is opened on another one. */
function afterLoss(error) {
  end({ forgotten: true });
  if (error.status === api.LOST) connect();
  showError(error.status === api.LOST ? "error.machineGone" : "error.sessionGone");
}

/** Leaves the session; `forgotten` where the server has already ended it. */
function end({ forgotten = false } = {}) {
  const { session } = page;
  if (!session) return;
  page.session = null;
  talk.turnOff();
  outlets.clear();
  change.clear();
  clips.show();
  if (page.chosen) checkPresenter(presenters, page.chosen.name);
  // The session takes its connections along.
  session.viewer.stop({ told: false });
  if (!forgotten) api.endSession(session.id).catch(() => {});
  stage.clearStage();
  showFigures(null);
  setState("start");
  connectButton.focus({ preventScroll: true });
}

/** Reads server and connection once a second while the session lasts. */
async function poll(session) {
  while (page.session === session) {
    let server = null;
    const { answers } = change;
    try {
      server = await api.readSession(session.id);
    } catch (error) {
      if (page.session !== session) return;
      if (error.status === 404 || error.status === api.LOST) return afterLoss(error);
    }
    if (page.session !== session) return;
    outlets.refresh();
    if (server && answers === change.answers) showServer(server);
    if (page.state === "connected") stage.setTally(server?.speaking ? "speaking" : "standby");
    const figures = await gauge.read(session.viewer.connection, talk.connection, server);
    if (page.session === session) showFigures(figures);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** What the server says of the session: whoever else operates it may have changed its presenter. */
function showServer(server) {
  clips.show(server);
  if (change.busy || server.avatar === page.chosen.name) return;
  const avatar = page.avatars.find(({ name }) => name === server.avatar);
  if (!avatar) return;
  checkPresenter(presenters, avatar.name);
  present(avatar);
}

function onChange(avatar, server, error) {
  if (error) {
    checkPresenter(presenters, page.chosen.name);
    explain(error, "change");
    return;
  }
  clearError();
  present(avatar);
  clips.show(server);
  announce("says.changed");
}

async function say() {
  const { session } = page;
  const said = text.value.trim();
  if (!session) return;
  if (!/[\p{L}\p{N}]/u.test(said)) {
    showError("error.textEmpty");
    text.focus();
    return;
  }
  clearError();
  try {
    await api.speak(session.id, said, byId("voice").value);
    text.value = "";
    announce("says.said");
  } catch (error) {
    explain(error, "speak");
  }
  text.focus();
}

async function interrupt() {
  if (!page.session) return;
  try {
    await api.interrupt(page.session.id);
    announce("says.interrupted");
    if (page.state === "connected") stage.setTally("standby");
  } catch (error) {
    explain(error, "interrupt");
  }
}

/** A presenter was chosen: for the next session, or for the one that runs. */
function choose(avatar) {
  if (page.session && avatar.name !== page.chosen?.name) change.to(avatar);
  else present(avatar);
}

/** Shows who is on stage, or will be. */
function present(avatar) {
  page.chosen = avatar;
  ownTools.show(avatar);
  byId("stage-name").textContent = pick(avatar.title) || avatar.name;
  stage.showPoster(avatar.preview);
  connectButton.disabled = false;
}

function showLanguage() {
  for (const code of ["en", "zh"]) byId(`lang-${code}`).setAttribute("aria-pressed", String(code === language()));
  if (page.chosen) byId("stage-name").textContent = pick(page.chosen.title) || page.chosen.name;
  if (page.avatars.length > 0) namePresenters(presenters, page.avatars);
  stage.refreshStageTexts();
}

async function load() {
  try {
    const [avatars, voices] = await Promise.all([api.listAvatars(), api.listVoices()]);
    byId("voice").append(...voices.map(({ id, name }) => new Option(name, id)));
    showAvatars(avatars, null);
  } catch (error) {
    explain(error, "load");
  }
}

function showAvatars(avatars, chosen) {
  page.avatars = avatars;
  if (avatars.length === 0) {
    showError("error.noAvatars");
    return;
  }
  const checked = showPresenters(presenters, avatars, choose, chosen);
  if (!page.session) present(checked);
}

/** There are other presenters now; in a session, the one that is on stage stays chosen. */
async function reloadAvatars({ detail }) {
  try {
    const avatars = await api.listAvatars();
    const stays = page.session || !detail.chosen;
    showAvatars(avatars, stays ? page.chosen?.name : detail.chosen);
  } catch (error) {
    explain(error, "load");
  }
}

/** Puts a presenter on the stage that has just been made. */
async function talkWith({ detail }) {
  await reloadAvatars({ detail: { chosen: detail.name } });
  const avatar = page.avatars.find(({ name }) => name === detail.name);
  if (!avatar) return;
  checkPresenter(presenters, avatar.name);
  choose(avatar);
  connect();
}

connectButton.addEventListener("click", connect);
endButton.addEventListener("click", () => {
  end();
  announce("says.ended");
});
byId("say").addEventListener("click", say);
byId("interrupt").addEventListener("click", interrupt);
for (const code of ["en", "zh"]) byId(`lang-${code}`).addEventListener("click", () => setLanguage(code));
text.addEventListener("keydown", (event) => {
  // While an input method composes (Chinese, Japanese), Enter picks a candidate; Safari tells it only by code 229.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  say();
});
window.addEventListener("keydown", (event) => {
  // In full screen Escape belongs to the browser; while composing, to the input method.
  if (event.key === "Escape" && !event.isComposing && !document.fullscreenElement) interrupt();
});
window.addEventListener("pagehide", () => end());
document.addEventListener("koubo:avatars", reloadAvatars);
document.addEventListener("koubo:talk", talkWith);
onLanguage(showLanguage);
onTokenWanted(askForToken);

translate();
showLanguage();
setState("start");
load();
new Creation();
