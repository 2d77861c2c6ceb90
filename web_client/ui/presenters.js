// The cards one chooses a presenter from: native radio buttons, so that arrow keys and screen readers just work.
// While a session runs, a choice changes its presenter.
import * as api from "../api.js";
import { pick } from "../i18n.js";

/** So long a choice may be taken back: arrow keys pass over the presenters between. */
const SETTLE_MS = 250;

/** A pointer that stays so long on a card means it. */
const HOVER_MS = 120;

function card(avatar, checked) {
  const label = document.createElement("label");
  label.className = "presenter";
  const input = document.createElement("input");
  input.type = "radio";
  input.name = "presenter";
  input.value = avatar.name;
  input.checked = checked;
  const picture = document.createElement("img");
  picture.src = avatar.preview;
  picture.alt = "";
  picture.width = 160;
  picture.height = 160;
  const name = document.createElement("span");
  name.className = "presenter-name";
  label.append(input, picture, name);
  return label;
}

/** Fills `fieldset` with cards, the one called `chosen` checked, else the first; returns the checked one. Calls
 * `onChoose(avatar)` at every choice. */
export function showPresenters(fieldset, avatars, onChoose, chosen = null) {
  const first = avatars.find(({ name }) => name === chosen) ?? avatars[0];
  fieldset.replaceChildren(...avatars.map((avatar) => card(avatar, avatar === first)));
  fieldset.onchange = ({ target }) => onChoose(avatars.find(({ name }) => name === target.value));
  namePresenters(fieldset, avatars);
  return first;
}

/** Checks the card of the presenter `name`, without calling anybody. */
export function checkPresenter(fieldset, name) {
  const input = fieldset.querySelector(`input[value="${CSS.escape(name)}"]`);
  if (input) input.checked = true;
}

/** Writes the titles in the page's language. */
export function namePresenters(fieldset, avatars) {
  for (const avatar of avatars) {
    const input = fieldset.querySelector(`input[value="${CSS.escape(avatar.name)}"]`);
    input.parentElement.querySelector(".presenter-name").textContent = pick(avatar.title) || avatar.name;
  }
}

/** Changes the presenter of the session whose id `sessionId()` gives (null when there is none). */
export class Change {
  #fieldset;
  #sessionId;
  #onDone;
  #wanted = null;
  #timer = 0;
  #hover = 0;
  #prepared = new Set();
  #running = false;
  /** How many answers have come: what the server said before the last one is old. */
  answers = 0;

  /** `onDone(avatar, server, error)`: with what the server says of the session now, or why it did not change. */
  constructor(fieldset, sessionId, onDone) {
    this.#fieldset = fieldset;
    this.#sessionId = sessionId;
    this.#onDone = onDone;
    fieldset.addEventListener("pointerover", ({ target }) => this.#point(target.closest(".presenter")));
    fieldset.addEventListener("pointerleave", () => clearTimeout(this.#hover));
  }

  get busy() {
    return this.#running || this.#wanted !== null;
  }

  /** One change at a time; of several that are asked for meanwhile, the last. */
  to(avatar) {
    this.#wanted = avatar;
    this.#mark(avatar);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#next(), SETTLE_MS);
  }

  /** Forgets what was asked for and is not under way. */
  clear() {
    clearTimeout(this.#timer);
    clearTimeout(this.#hover);
    this.#wanted = null;
    this.#prepared.clear();
    this.#mark(null);
  }

  async #next() {
    const id = this.#sessionId();
    const avatar = this.#wanted;
    if (this.#running || !avatar || !id) return;
    this.#wanted = null;
    this.#running = true;
    const [server, error] = await api.changeAvatar(id, avatar.name).then(
      (now) => [now, null],
      (refused) => [null, refused],
    );
    this.#running = false;
    this.answers += 1;
    if (this.#sessionId() !== id) return;
    if (this.#wanted) {
      this.#next();
      return;
    }
    this.#mark(null);
    this.#onDone(avatar, server, error);
  }

  #mark(avatar) {
    for (const input of this.#fieldset.querySelectorAll("input")) {
      input.parentElement.toggleAttribute("data-busy", input.value === avatar?.name);
    }
    this.#fieldset.setAttribute("aria-busy", String(avatar !== null));
  }

  /** Who is pointed at may be wanted next: the server loads it ahead, in silence. */
  #point(card) {
    clearTimeout(this.#hover);
    const id = this.#sessionId();
    const input = card?.querySelector("input");
    if (!id || !input || input.checked || this.#prepared.has(input.value)) return;
    this.#hover = setTimeout(() => {
      this.#prepared.add(input.value);
      api.prepareAvatar(id, input.value).catch(() => this.#prepared.delete(input.value));
    }, HOVER_MS);
  }
}
