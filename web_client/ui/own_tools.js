// What one can do with a presenter of one's own besides showing it: take it along, and remove it.
import * as api from "../api.js";
import { pick, t } from "../i18n.js";
import { announce, clearError, explain } from "./notices.js";

const box = document.getElementById("own-tools");
const exportButton = document.getElementById("own-export");
const deleteButton = document.getElementById("own-delete");

export class OwnTools {
  #avatar = null;
  #isFree;

  /** `isFree()` tells whether the presenter is not on stage. */
  constructor(isFree) {
    this.#isFree = isFree;
    exportButton.addEventListener("click", () => this.#export());
    deleteButton.addEventListener("click", () => this.#delete());
  }

  /** Offers what can be done with the chosen presenter. */
  show(avatar) {
    this.#avatar = avatar;
    box.hidden = !avatar.own;
  }

  async #export() {
    const { name } = this.#avatar;
    clearError();
    exportButton.setAttribute("aria-busy", "true");
    try {
      const url = URL.createObjectURL(await api.exportAvatar(name));
      const link = document.createElement("a");
      link.href = url;
      link.download = `${name}.zip`;
      link.click();
      // The browser has its own hold of it once the download has begun.
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (error) {
      explain(error, "export");
    } finally {
      exportButton.removeAttribute("aria-busy");
    }
  }

  async #delete() {
    const { name, title } = this.#avatar;
    if (!this.#isFree() || !confirm(t("create.deleteSure", { name: pick(title) || name }))) return;
    clearError();
    try {
      await api.deleteAvatar(name);
      announce("create.says.deleted");
      document.dispatchEvent(new CustomEvent("koubo:avatars", { detail: { chosen: null } }));
    } catch (error) {
      explain(error, "delete");
    }
  }
}
