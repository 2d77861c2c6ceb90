// The gestures of the presenter: a button for each, lit while it is shown.
import * as api from "../api.js";
import { announce, clearError, explain } from "./notices.js";

const row = document.getElementById("clips");

const ONCE = new Set(["greeting", "gesture"]);

/** A clip waits for a picture that it follows well; it is lit meanwhile, unless that takes longer. */
const PATIENCE_MS = 6000;

/** "thumbs-up" as people write it. */
const title = (name) => `${name[0].toUpperCase()}${name.slice(1).replaceAll("-", " ")}`;

/** Shows and asks for clips of the session whose id `sessionId()` gives (null when there is none). */
export class Clips {
  #sessionId;
  #names = "";
  /** When each of those was asked for that have not been seen to begin. */
  #asked = new Map();

  constructor(sessionId) {
    this.#sessionId = sessionId;
  }

  /** Takes what the server says of the session: its `clips`, and which `clip` is on. */
  show({ clips = [], clip = null } = {}) {
    const names = clips.filter(({ kind }) => ONCE.has(kind)).map(({ name }) => name);
    // Built anew only for another presenter: a button must not vanish under a finger, nor lose the focus.
    if (this.#names !== names.join()) {
      this.#names = names.join();
      this.#asked.clear();
      row.replaceChildren(...names.map((name) => this.#button(name)));
    }
    row.hidden = names.length === 0;
    for (const button of row.children) {
      if (button.value === clip) this.#asked.delete(clip);
      const asked = this.#asked.get(button.value) ?? -PATIENCE_MS;
      button.toggleAttribute("data-on", button.value === clip || performance.now() - asked < PATIENCE_MS);
    }
  }

  #button(name) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "secondary clip";
    button.value = name;
    button.textContent = title(name);
    button.addEventListener("click", () => this.#ask(button));
    return button;
  }

  async #ask(button) {
    const id = this.#sessionId();
    if (!id) return;
    clearError();
    try {
      await api.showClip(id, button.value);
      this.#asked.set(button.value, performance.now());
      button.toggleAttribute("data-on", true);
      announce("says.clip");
    } catch (error) {
      if (this.#sessionId() === id) explain(error, "clip");
    }
  }
}
