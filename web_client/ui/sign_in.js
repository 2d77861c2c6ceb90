// The dialog that asks for the operator's token.
const dialog = document.getElementById("sign-in");
const field = document.getElementById("token");

/** Resolves with what was typed, or with "" when the dialog was closed. */
export function askForToken() {
  return new Promise((resolve) => {
    field.value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "given" ? field.value.trim() : ""), {
      once: true,
    });
    dialog.showModal();
  });
}
