// Where the presenter goes besides this page: live platforms, an SFU, a recording.
import * as api from "../api.js";
import { language, onLanguage, setText, t } from "../i18n.js";
import { announce, clearError, explain, showError } from "./notices.js";

const byId = (id) => document.getElementById(id);
const form = byId("outlet-form");
const address = byId("outlet-url");
const secret = byId("outlet-key");
const recordButton = byId("outlet-record");
const list = byId("outlets");

const RECORDING = "mp4:";

/** A stream key belongs to the path of an RTMP address; everywhere else the secret is a bearer token. */
function asked() {
  const url = address.value.trim();
  const key = secret.value.trim();
  if (!key) return { url };
  if (/^rtmps?:/i.test(url)) return { url: `${url.replace(/\/+$/, "")}/${key}` };
  return { url, token: key };
}

function size(bytes) {
  const mega = bytes / 1e6;
  const format = new Intl.NumberFormat(language(), { maximumFractionDigits: mega < 10 ? 1 : 0 });
  return `${format.format(mega)} MB`;
}

/** What an outlet's second line says: its trouble, or how much it has sent. */
function story({ state, error, retry_in_s: retry, reconnects, bytes, place }) {
  const told = [];
  if (error && state !== "live") told.push(error);
  if (state === "waiting" && retry !== null) told.push(t("outlets.retry", { seconds: Math.ceil(retry) }));
  if (state === "live") told.push(size(bytes));
  if (state === "live" && reconnects > 0) told.push(t("outlets.reconnects", { count: reconnects }));
  if (place) told.push(place);
  return told.join(" · ");
}

class Row {
  constructor(outlet, remove) {
    this.box = document.createElement("li");
    this.box.className = "outlet";
    this.lamp = document.createElement("span");
    this.lamp.className = "lamp";
    this.lamp.setAttribute("aria-hidden", "true");
    const words = document.createElement("div");
    words.className = "grow";
    this.title = document.createElement("p");
    this.title.className = "outlet-title";
    this.detail = document.createElement("p");
    this.detail.className = "hint";
    words.append(this.title, this.detail);
    const end = document.createElement("button");
    end.type = "button";
    end.className = "quiet danger";
    setText(end, "outlets.end");
    end.addEventListener("click", () => remove(outlet.id));
    this.box.append(this.lamp, words, end);
    this.show(outlet);
  }

  show(outlet) {
    this.box.dataset.state = outlet.state;
    const what = outlet.kind === "mp4" ? t("outlets.recording") : outlet.url;
    this.title.textContent = `${what} · ${t(`outlets.${outlet.state}`)}`;
    this.title.title = outlet.url;
    this.detail.textContent = story(outlet);
  }
}

/** Shows and changes the outlets of the session whose id `sessionId()` gives (null when there is none). */
export class Outlets {
  #sessionId;
  #rows = new Map();
  #known = [];

  constructor(sessionId) {
    this.#sessionId = sessionId;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (address.value.trim()) this.#open(asked());
      else {
        showError("error.outletEmpty");
        address.focus();
      }
    });
    recordButton.addEventListener("click", () => this.#open({ url: RECORDING }));
    onLanguage(() => this.#show(this.#known));
  }

  /** Reads them once; a server that does not answer is told by others. */
  async refresh() {
    const id = this.#sessionId();
    if (!id) return;
    const outlets = await api.listOutlets(id).catch(() => null);
    if (outlets && this.#sessionId() === id) this.#show(outlets);
  }

  clear() {
    this.#show([]);
    secret.value = "";
  }

  async #open(wanted) {
    const id = this.#sessionId();
    if (!id) return;
    clearError();
    try {
      await api.createOutlet(id, wanted);
      if (wanted.url !== RECORDING) form.reset();
      announce("says.outletOpened");
    } catch (error) {
      explain(error, "outlet");
    }
    await this.refresh();
  }

  async #remove(outletId) {
    const id = this.#sessionId();
    if (!id) return;
    try {
      await api.removeOutlet(id, outletId);
      announce("says.outletEnded");
    } catch (error) {
      explain(error, "outlet");
    }
    await this.refresh();
  }

  #show(outlets) {
    this.#known = outlets;
    const ids = new Set(outlets.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.box.remove();
      this.#rows.delete(id);
    }
    for (const outlet of outlets) {
      const row = this.#rows.get(outlet.id);
      if (row) row.show(outlet);
      else {
        const made = new Row(outlet, (id) => this.#remove(id));
        this.#rows.set(outlet.id, made);
        list.append(made.box);
      }
    }
  }
}
