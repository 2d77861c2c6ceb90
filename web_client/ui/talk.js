// The microphone's corner of the console: permission, choice, mute, level, publishing.
import { setText } from "../i18n.js";
import { LevelMeter } from "../meter.js";
import { listMicrophones, onMicrophonesChange, openMicrophone } from "../microphone.js";
import { Publisher } from "../whip.js";
import { announce, clearError, explain, showError } from "./notices.js";

const SILENT_DB = -55;
const SILENT_AFTER_S = 5;

const byId = (id) => document.getElementById(id);
const choice = byId("microphone");
const onButton = byId("mic-on");
const muteButton = byId("mic-mute");
const offButton = byId("mic-off");
const stateLine = byId("talk-state");

/** `whipUrl()` names the endpoint of the present session; `onChange(heard)` tells when the voice goes on or off air. */
export class Talk {
  #whipUrl;
  #onChange;
  #meter = new LevelMeter(byId("meter"));
  #publisher = null;
  #track = null;
  #busy = false;
  #silentSeconds = 0;

  constructor(whipUrl, onChange) {
    this.#whipUrl = whipUrl;
    this.#onChange = onChange;
    onButton.addEventListener("click", () => this.#turnOn());
    offButton.addEventListener("click", () => {
      this.turnOff();
      announce("says.micOff");
      onButton.focus();
    });
    muteButton.addEventListener("click", () => this.#toggleMute());
    choice.addEventListener("change", () => this.#change());
    onMicrophonesChange(() => this.refreshChoice());
    this.refreshChoice();
    setInterval(() => this.#watchSilence(), 1000);
  }

  get connection() {
    return this.#publisher?.connection ?? null;
  }

  /** Fills the list of microphones; names appear once the user has given permission. */
  async refreshChoice() {
    const kept = choice.value;
    const byDefault = choice.options[0];
    const options = (await listMicrophones()).map(({ id, label }) => new Option(label, id));
    // Chrome lists the system's choice again under the id "default".
    choice.replaceChildren(byDefault, ...options.filter(({ value }) => value !== "default"));
    choice.value = [...choice.options].some(({ value }) => value === kept) ? kept : "";
  }

  async #turnOn() {
    const url = this.#whipUrl();
    if (this.#busy || !url) return;
    this.#setBusy(true);
    clearError();
    try {
      const track = await openMicrophone(choice.value);
      // The permission prompt can stay open for minutes; the session may have ended meanwhile.
      if (this.#whipUrl() !== url) {
        track.stop();
        return;
      }
      this.#adopt(track);
      const publisher = new Publisher(() => this.#lost("error.micLost"));
      await publisher.start(url, track);
      if (this.#track !== track || this.#whipUrl() !== url) {
        publisher.stop();
        track.stop();
        return;
      }
      this.#publisher = publisher;
      announce("says.micOn");
      await this.refreshChoice();
    } catch (error) {
      this.turnOff();
      explain(error, "whip");
    } finally {
      this.#setBusy(false);
      this.#show();
      if (this.#publisher) muteButton.focus({ preventScroll: true });
    }
  }

  #adopt(track) {
    this.#track = track;
    this.#meter.start(track);
    track.addEventListener("ended", () => {
      if (this.#track === track) this.#lost("error.micUnplugged");
    });
  }

  async #change() {
    const publisher = this.#publisher;
    if (!publisher) return;
    try {
      const track = await openMicrophone(choice.value);
      if (this.#publisher !== publisher) {
        track.stop();
        return;
      }
      const before = this.#track;
      track.enabled = before.enabled;
      this.#adopt(track);
      before.stop();
      await publisher.replace(track);
      clearError();
    } catch (error) {
      // The former microphone stays on air; the list must not claim otherwise.
      choice.value = this.#track?.getSettings().deviceId ?? "";
      if (choice.selectedIndex < 0) choice.value = "";
      explain(error, "whip");
    }
  }

  #toggleMute() {
    this.#track.enabled = !this.#track.enabled;
    announce(this.#track.enabled ? "talk.live" : "talk.muted");
    this.#show();
  }

  #lost(key) {
    this.turnOff();
    showError(key);
  }

  turnOff() {
    this.#publisher?.stop();
    this.#publisher = null;
    this.#track?.stop();
    this.#track = null;
    this.#meter.stop();
    this.#show();
  }

  #setBusy(busy) {
    this.#busy = busy;
    // aria-disabled keeps the focus where it is; `disabled` would throw it back to the page.
    onButton.setAttribute("aria-disabled", String(busy));
    if (busy) setText(stateLine, "talk.opening");
  }

  #show() {
    const on = this.#publisher !== null;
    const heard = on && this.#track.enabled;
    onButton.hidden = on;
    muteButton.hidden = offButton.hidden = !on;
    muteButton.setAttribute("aria-pressed", String(on && !heard));
    setText(byId("mic-mute-text"), on && !heard ? "talk.unmute" : "talk.mute");
    if (!this.#busy) setText(stateLine, heard ? "talk.live" : on ? "talk.muted" : "talk.hint");
    document.body.dataset.mic = heard ? "live" : on ? "muted" : "off";
    this.#silentSeconds = 0;
    this.#onChange(heard);
  }

  /** A muted headset is the commonest reason for a presenter that does not move: say so. */
  #watchSilence() {
    // A hidden page does not draw, so its meter has measured nothing.
    if (document.body.dataset.mic !== "live" || document.hidden) return;
    this.#silentSeconds = this.#meter.takeLoudest() < SILENT_DB ? this.#silentSeconds + 1 : 0;
    const key = this.#silentSeconds >= SILENT_AFTER_S ? "talk.silent" : "talk.live";
    if (stateLine.dataset.i18n !== key) {
      setText(stateLine, key);
      if (key === "talk.silent") announce(key);
    }
  }
}
