// What the page tells its user: one error at a time, and quiet announcements for screen readers.
import { ApiError } from "../api.js";
import { setText, t } from "../i18n.js";
import { MicrophoneError } from "../microphone.js";

const alertBox = document.getElementById("alert");
const alertText = document.getElementById("alert-text");
const alertClose = document.getElementById("alert-close");
const statusLine = document.getElementById("status");

const BY_ACTION = {
  create: { 404: "error.avatarGone" },
  change: { 404: "error.avatarGone", 409: "error.changing" },
  clip: { 409: "error.clipOn" },
  whip: { 409: "error.micTaken" },
  speak: { 413: "error.textLong", 422: "error.textLong", 429: "error.textQueue" },
};
const BY_STATUS = { 0: "error.offline", 404: "error.sessionGone", 503: "error.full" };

function put(text, key) {
  if (key) setText(alertText, key);
  else {
    delete alertText.dataset.i18n;
    alertText.textContent = text;
  }
  alertClose.hidden = false;
  alertBox.classList.add("shown");
}

/** Shows the sentence of `key`; it stays until `clearError` or the user dismisses it. */
export function showError(key) {
  put("", key);
}

/** Shows why `action` ("create", "view", "whip", "speak", …) failed, in the page's language where it can. */
export function explain(error, action) {
  if (error instanceof MicrophoneError) return showError(error.key);
  if (!(error instanceof ApiError)) {
    console.error(error);
    return showError("error.browser");
  }
  const key = BY_ACTION[action]?.[error.status] ?? BY_STATUS[error.status];
  if (key) return showError(key);
  return put(error.detail || t("error.refused", { status: error.status }), null);
}

export function clearError() {
  alertBox.classList.remove("shown");
  alertClose.hidden = true;
  delete alertText.dataset.i18n;
  alertText.textContent = "";
}

/** The key of the error on the page, or undefined. */
export const shownError = () => alertText.dataset.i18n;

/** Says something to screen readers without moving the eye. */
export function announce(key) {
  setText(statusLine, key);
}

alertClose.addEventListener("click", clearError);
