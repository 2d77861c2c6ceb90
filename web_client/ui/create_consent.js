// Who is shown, under which name, and that the person agrees.
import { onLanguage, t } from "../i18n.js";

const byId = (id) => document.getElementById(id);
const form = byId("create-form");
const name = byId("create-name");
const by = byId("create-by");
const statement = byId("create-statement");
const agree = byId("create-agree");
const goButton = byId("create-go");

/** Step two of the dialog; calls `onGiven()` when everything is said and agreed to. */
export class Consent {
  constructor(onGiven) {
    form.addEventListener("input", ({ target }) => {
      // What was never touched follows: the person is usually called as the presenter is.
      target.dataset.own = "true";
      if (!by.dataset.own) by.value = name.value;
      this.#check();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!goButton.disabled) onGiven();
    });
    onLanguage(() => this.#suggest());
    this.#suggest();
  }

  /** What the server wants to know. */
  get said() {
    const title = name.value.trim();
    return {
      title: { en: title, zh: title },
      consent: { by: by.value.trim(), statement: statement.value.trim(), accepted: agree.checked },
    };
  }

  /** The next presenter is another one, and needs another consent. */
  clear() {
    for (const field of [name, by, statement]) {
      field.value = "";
      delete field.dataset.own;
    }
    agree.checked = false;
    this.#suggest();
    this.#check();
  }

  #suggest() {
    if (!statement.dataset.own) statement.value = t("create.statementText");
  }

  #check() {
    goButton.disabled = !agree.checked || ![name, by, statement].every((field) => field.value.trim());
  }
}
