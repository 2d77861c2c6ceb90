// "New presenter": film, consent, making, result. A job goes on when the dialog is closed, and when the page is.
import * as api from "../api.js";
import { onLanguage, setText, t } from "../i18n.js";
import { Consent } from "./create_consent.js";
import { Film } from "./create_film.js";
import { isOver, jobTitle, showFindings, showOnButton, showPicture, showSteps } from "./create_job.js";

const POLL_MS = 1000;
const MIB = 1 << 20;

const byId = (id) => document.getElementById(id);
const dialog = byId("create");
const errorBox = byId("create-error");
const nextButton = byId("create-next");

const ERRORS = { 0: "error.offline", 404: "create.error.gone", 503: "create.error.busy", 507: "create.error.noRoom" };

/** Tells the page that there are other presenters now; `chosen` is the one to show. */
const tellAvatars = (chosen) => document.dispatchEvent(new CustomEvent("koubo:avatars", { detail: { chosen } }));

export class Creation {
  #film;
  #consent = new Consent(() => this.#create());
  #job = null;
  #sending = false;
  #polling = false;
  #seen = true;

  constructor() {
    this.#film = new Film(
      () => this.#filmChanged(),
      (key) => this.#fail(key),
    );
    byId("create-open").addEventListener("click", () => this.open());
    for (const id of ["create-close", "create-done"]) byId(id).addEventListener("click", () => dialog.close());
    nextButton.addEventListener("click", () => (this.#film.packed ? this.#import() : this.#goTo("consent")));
    byId("create-back").addEventListener("click", () => this.#goTo("film"));
    byId("create-cancel").addEventListener("click", () => this.#cancel());
    byId("create-retry").addEventListener("click", () => this.#retry());
    byId("create-delete").addEventListener("click", () => this.#delete());
    byId("create-talk").addEventListener("click", () => this.#talk());
    dialog.addEventListener("close", () => this.#closed());
    // On the page, Escape silences the presenter; here it closes the dialog.
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Escape") event.stopPropagation();
    });
    addEventListener("beforeunload", (event) => {
      if (this.#sending) event.preventDefault();
    });
    byId("result-closer").addEventListener("toggle", () => this.#lookCloser());
    onLanguage(() => this.#show());
    this.#resume();
  }

  open() {
    this.#fail(null);
    if (this.#job && isOver(this.#job) && this.#job.state === "done" && this.#seen) this.#forget();
    if (!this.#job) this.#goTo("film");
    dialog.showModal();
    this.#show();
    dialog.querySelector(`[data-step="${dialog.dataset.step}"] h3`).focus();
  }

  /** After a reload of the page: what is under way, or ended without being seen. */
  async #resume() {
    const jobs = await api.listJobs().catch(() => []);
    const going = jobs.filter((job) => !isOver(job) && job.state !== "waiting");
    if (this.#job || going.length === 0) return;
    this.#adopt(going[0]);
    this.#poll();
  }

  #adopt(job) {
    this.#job = job;
    this.#seen = false;
    this.#show();
  }

  #forget() {
    byId("result-closer").open = false;
    this.#job = null;
    this.#seen = true;
    this.#film.clear();
    this.#consent.clear();
    this.#show();
  }

  #closed() {
    this.#film.release();
    if (this.#job && isOver(this.#job) && this.#job.state === "done") this.#forget();
    byId("create-open").focus();
  }

  #filmChanged() {
    this.#fail(null);
    nextButton.disabled = this.#film.file === null;
    setText(nextButton, this.#film.packed ? "create.import" : "create.next");
  }

  #goTo(step) {
    if (step !== "film") this.#film.release();
    dialog.dataset.step = step;
    const places = [...byId("create-steps").children];
    const at = places.findIndex((place) => place.dataset.step === step);
    places.forEach((place, index) => {
      place.dataset.state = index < at ? "done" : index === at ? "now" : "later";
      if (index === at) place.setAttribute("aria-current", "step");
      else place.removeAttribute("aria-current");
    });
    for (const body of dialog.querySelectorAll(".create-body")) body.hidden = body.dataset.step !== step;
    this.#fail(null);
    if (dialog.open) {
      const first = step === "consent" ? byId("create-name") : dialog.querySelector(`.create-body[data-step="${step}"] h3`);
      first.focus();
    }
  }

  async #create() {
    const { file } = this.#film;
    if (this.#sending || !file) return;
    this.#sending = true;
    this.#fail(null);
    try {
      this.#adopt(await api.createJob({ ...this.#consent.said, bytes: file.size }));
      this.#goTo("making");
      this.#say("create.says.sending");
      this.#poll();
      await this.#send(file);
    } catch (error) {
      this.#explain(error);
    } finally {
      this.#sending = false;
      this.#show();
    }
  }

  async #send(file) {
    const { id } = this.#job;
    try {
      await api.sendVideo(id, file);
    } catch (error) {
      if (this.#job?.id !== id) return;
      // The job would wait for another try, but the film is here: it is begun anew.
      api.cancelJob(id).catch(() => {});
      this.#job = null;
      this.#goTo("consent");
      if (error.status === 0) this.#fail("create.error.brokenOff");
      else this.#explain(error);
    }
  }

  async #import() {
    if (this.#sending) return;
    this.#sending = true;
    nextButton.setAttribute("aria-busy", "true");
    this.#fail(null);
    try {
      const avatar = await api.importAvatar(this.#film.file);
      this.#adopt({ ...avatar, avatar: avatar.name, state: "done", findings: [], imported: true });
      tellAvatars(avatar.name);
    } catch (error) {
      this.#explain(error);
    } finally {
      this.#sending = false;
      nextButton.removeAttribute("aria-busy");
    }
  }

  /** Follows the job once a second until it is over. */
  async #poll() {
    if (this.#polling) return;
    this.#polling = true;
    while (this.#job && !isOver(this.#job)) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      const { id } = this.#job ?? {};
      if (!id) break;
      try {
        const job = await api.readJob(id);
        if (this.#job?.id !== id) continue;
        this.#job = job;
        if (dialog.open) this.#fail(null);
        this.#show();
        if (job.state === "done") {
          this.#say("create.says.ready");
          tellAvatars(job.avatar);
        }
      } catch (error) {
        if (this.#job?.id !== id) continue;
        this.#explain(error);
        if (error.status === 404) this.#forget();
      }
    }
    this.#polling = false;
  }

  #show() {
    const job = this.#job;
    showOnButton(job);
    if (!job) return;
    const step = job.state === "done" ? "result" : "making";
    if (dialog.dataset.step !== step) this.#goTo(step);
    const title = { name: jobTitle(job) };
    if (step === "result") {
      byId("create-result-title").textContent = t("create.result.title", title);
      showPicture(byId("result-picture"), job.preview);
      this.#lookCloser();
      showFindings(byId("result-findings"), job.findings);
      if (dialog.open) this.#seen = true;
      return;
    }
    const failed = job.state === "failed";
    byId("create-making-title").textContent = t(failed ? "create.making.failed" : "create.making.title", title);
    showSteps(byId("making-steps"), job);
    showPicture(byId("making-picture"), job.preview);
    showFindings(byId("making-findings"), job.findings);
    byId("making-hint").hidden = failed;
    const hint = job.state === "queued" ? "waits" : job.state === "uploading" || job.state === "waiting" ? "stay" : "hint";
    setText(byId("making-hint"), `create.making.${hint}`);
    byId("create-retry").hidden = !failed;
    byId("create-cancel").hidden = failed;
    // The findings say it, each in the page's language.
    if (failed && job.findings.length === 0) this.#fail(null, job.error);
  }

  /** The many pictures of a presenter take a moment where nobody has asked for them yet. */
  async #lookCloser() {
    const { open } = byId("result-closer");
    await showPicture(byId("result-sheet"), open ? (this.#job?.sheet ?? null) : null);
    byId("result-wait").hidden = !byId("result-sheet").hidden;
  }

  async #cancel() {
    const { id } = this.#job ?? {};
    if (!id) return;
    this.#job = null;
    showOnButton(null);
    this.#goTo("consent");
    await api.cancelJob(id).catch(() => {});
  }

  /** What was said of the presenter stays; only the film is another. */
  #retry() {
    const { id } = this.#job;
    api.cancelJob(id).catch(() => {});
    this.#job = null;
    showOnButton(null);
    this.#film.clear();
    this.#goTo("film");
  }

  async #delete() {
    const { avatar } = this.#job;
    if (!confirm(t("create.deleteSure", { name: jobTitle(this.#job) }))) return;
    try {
      await api.deleteAvatar(avatar);
    } catch (error) {
      this.#explain(error);
      return;
    }
    tellAvatars(null);
    dialog.close();
  }

  #talk() {
    const { avatar } = this.#job;
    dialog.close();
    document.dispatchEvent(new CustomEvent("koubo:talk", { detail: { name: avatar } }));
  }

  #say(key) {
    setText(byId("create-status"), key);
  }

  #explain(error) {
    if (error.status === 413) this.#fail(null, error.detail);
    else if (ERRORS[error.status]) this.#fail(ERRORS[error.status]);
    else this.#fail(null, error.detail || t("error.refused", { status: error.status }));
  }

  /** Shows what is wrong, by key or in the server's words; neither takes it away. */
  #fail(key, sentence = "") {
    delete errorBox.dataset.i18n;
    errorBox.textContent = sentence;
    if (key) setText(errorBox, key);
    errorBox.classList.toggle("shown", Boolean(key || sentence));
  }
}
