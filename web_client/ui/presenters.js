// The cards one chooses a presenter from: native radio buttons, so that arrow keys and screen readers just work.
import { pick } from "../i18n.js";

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

/** Fills `fieldset` with cards; calls `onChoose(avatar)` at once for the first one and at every choice. */
export function showPresenters(fieldset, avatars, onChoose) {
  fieldset.replaceChildren(...avatars.map((avatar, index) => card(avatar, index === 0)));
  fieldset.addEventListener("change", ({ target }) => {
    onChoose(avatars.find(({ name }) => name === target.value));
  });
  namePresenters(fieldset, avatars);
  onChoose(avatars[0]);
}

/** Writes the titles in the page's language. */
export function namePresenters(fieldset, avatars) {
  for (const avatar of avatars) {
    const input = fieldset.querySelector(`input[value="${CSS.escape(avatar.name)}"]`);
    input.parentElement.querySelector(".presenter-name").textContent = pick(avatar.title) || avatar.name;
  }
}
