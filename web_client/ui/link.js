// Where a session can be watched: an address for OBS and players, copied with one press.
import { playerUrl } from "../api.js";
import { setText } from "../i18n.js";
import { announce, explain, showError } from "./notices.js";

const COPIED_MS = 2000;

const field = document.getElementById("link");
const copyButton = document.getElementById("copy");

/** Shows the address of a session, unless `isCurrent()` tells that it is over by then. */
export async function showLink(sessionId, isCurrent) {
  field.value = "";
  try {
    const url = await playerUrl(sessionId);
    if (isCurrent()) field.value = url;
  } catch (error) {
    if (isCurrent()) explain(error, "link");
  }
}

async function copy() {
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    // No clipboard on plain http: the selected address can still be copied by hand.
    field.select();
    showError("error.copy");
    return;
  }
  setText(copyButton, "output.copied");
  announce("says.copied");
  setTimeout(() => setText(copyButton, "output.copy"), COPIED_MS);
}

copyButton.addEventListener("click", copy);
field.addEventListener("focus", () => field.select());
