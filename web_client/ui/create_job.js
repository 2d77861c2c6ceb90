// How a new presenter comes along: its steps, what was found in the footage, the pictures of it.
import * as api from "../api.js";
import { has, pick, t } from "../i18n.js";

const byId = (id) => document.getElementById(id);

/** The steps of a job as people see them; "rest" comes only where the footage has no silence. */
const STEPS = ["upload", "look", "loop", "rest", "film", "write"];
const WEIGHTS = { upload: 0.1, look: 0.45, loop: 0.05, rest: 0.1, film: 0.25, write: 0.05 };

export const isOver = (job) => job.state === "done" || job.state === "failed";
export const jobTitle = (job) => pick(job.title) || job.name;

/** The step that a job is at; what comes after the writing (its contact sheet) belongs to it. */
function stepOf(job) {
  if (job.state === "waiting" || job.state === "uploading") return "upload";
  if (job.state === "queued") return "look";
  return STEPS.includes(job.step) ? job.step : "write";
}

const share = (job) => (job.total > 0 ? Math.min(1, job.done / job.total) : null);

/** How far all of it is, 0 to 1, by how long steps usually take. */
export function progress(job) {
  if (isOver(job)) return 1;
  const at = STEPS.indexOf(stepOf(job));
  const before = STEPS.slice(0, at).reduce((sum, step) => sum + WEIGHTS[step], 0);
  return before + WEIGHTS[STEPS[at]] * (share(job) ?? 0);
}

function stepRow(step, state, part) {
  const row = document.createElement("li");
  row.dataset.state = state;
  const text = document.createElement("span");
  text.textContent = t(`create.work.${step}`);
  row.append(text);
  if (state === "now") {
    row.setAttribute("aria-current", "step");
    const bar = document.createElement("progress");
    bar.setAttribute("aria-label", text.textContent);
    if (part !== null) bar.value = part;
    row.append(bar);
  } else if (state === "done") {
    const done = document.createElement("span");
    done.className = "sr-only";
    done.textContent = t("create.work.done");
    row.append(done);
  }
  return row;
}

/** Shows the steps of a job; a row that is only further along keeps its element, so that bars move smoothly. */
export function showSteps(list, job) {
  const now = STEPS.indexOf(stepOf(job));
  const rested = job.step === "rest" || list.querySelector('[data-step="rest"]');
  const shown = STEPS.filter((step) => step !== "rest" || rested);
  shown.forEach((step, place) => {
    const at = STEPS.indexOf(step);
    const state = at < now || job.state === "done" ? "done" : at > now ? "later" : job.state === "failed" ? "failed" : "now";
    const old = list.children[place];
    if (old?.dataset.step === step && old.dataset.state === state && old.lang === document.documentElement.lang) {
      const bar = old.querySelector("progress");
      if (bar) share(job) === null ? bar.removeAttribute("value") : (bar.value = share(job));
      return;
    }
    const row = stepRow(step, state, share(job));
    row.dataset.step = step;
    row.lang = document.documentElement.lang;
    if (old) old.replaceWith(row);
    else list.append(row);
  });
  while (list.children.length > shown.length) list.lastChild.remove();
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

/** What was found: in the page's language where the code is known, in the server's words where not. */
export function showFindings(list, findings) {
  const sorted = [...findings].sort((one, other) => other.severity.localeCompare(one.severity)); // problems first
  list.replaceChildren(
    ...sorted.map(({ code, severity, sentence, at_s: at }) => {
      const item = document.createElement("li");
      item.dataset.severity = severity;
      const kind = document.createElement("span");
      kind.className = "finding-kind";
      kind.textContent = t(`create.findings.${severity}`);
      const text = document.createElement("span");
      text.textContent = has(`finding.${code}`) ? t(`finding.${code}`) : sentence;
      item.append(kind, text);
      if (at !== null) {
        const place = document.createElement("span");
        place.className = "finding-at";
        place.textContent = clock(at);
        item.append(place);
      }
      return item;
    }),
  );
}

const pictures = new WeakMap();

/** Shows the picture at an address of the server's; null for none. */
export async function showPicture(img, address) {
  if (pictures.get(img) === address) return;
  pictures.set(img, address);
  img.hidden = true;
  if (!address) return;
  try {
    const url = await api.shown(address);
    if (pictures.get(img) !== address) return;
    img.src = url;
    img.hidden = false;
  } catch {
    // It is gone, or not there yet; the next look tries again.
    if (pictures.get(img) === address) pictures.delete(img);
  }
}

/** The button that opens the dialog tells how the job does. */
export function showOnButton(job) {
  const button = byId("create-open");
  const state = job === null ? "none" : job.state === "failed" ? "failed" : isOver(job) ? "done" : "going";
  button.dataset.state = state;
  const key = { none: "create.open", going: "create.opening", done: "create.ready", failed: "create.unfit" }[state];
  byId("create-open-text").textContent = t(key, job ? { name: jobTitle(job) } : {});
  const bar = byId("create-open-bar");
  bar.hidden = state !== "going";
  if (state === "going") bar.value = progress(job);
}
