// The page's language: chosen once, remembered, applied to every element that carries a data-i18n attribute.
import en from "./strings/en.js";
import zh from "./strings/zh.js";

const STORE = "koubo.language";
const TABLES = { en, zh };
const HTML_LANG = { en: "en", zh: "zh-Hans" };
const ATTRIBUTES = { i18nLabel: "aria-label", i18nTitle: "title", i18nPlaceholder: "placeholder", i18nAlt: "alt" };

/** localStorage throws where the user blocks site data; the page then works without memory. */
function remembered() {
  try {
    return localStorage.getItem(STORE);
  } catch {
    return null;
  }
}

function remember(language) {
  try {
    localStorage.setItem(STORE, language);
  } catch {
    // Nothing to do: the choice lasts as long as the page.
  }
}

function preferred() {
  const stored = remembered();
  if (stored in TABLES) return stored;
  return (navigator.language ?? "").toLowerCase().startsWith("zh") ? "zh" : "en";
}

let current = preferred();
const listeners = new Set();

export const language = () => current;

/** The text of `key` in the page's language, with {name} places filled from `values`. */
export function t(key, values = {}) {
  const text = TABLES[current][key] ?? TABLES.en[key];
  if (text === undefined) throw new Error(`no text for ${key}`);
  return text.replace(/\{(\w+)\}/g, (place, name) => String(values[name] ?? place));
}

/** Whether there is a text of that key. */
export const has = (key) => key in TABLES.en;

/** Picks from a {"en", "zh"} title that came from the server. */
export const pick = (title) => title?.[current] || title?.en || title?.zh || "";

/** Writes the texts of `root` and everything below it. */
export function translate(root = document.documentElement) {
  for (const element of root.querySelectorAll("[data-i18n]")) element.textContent = t(element.dataset.i18n);
  for (const [name, attribute] of Object.entries(ATTRIBUTES)) {
    const selector = `[data-${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}]`;
    for (const element of root.querySelectorAll(selector)) element.setAttribute(attribute, t(element.dataset[name]));
  }
  document.documentElement.lang = HTML_LANG[current];
}

/** Gives an element a text that follows the language. */
export function setText(element, key) {
  element.dataset.i18n = key;
  const text = t(key);
  if (element.textContent !== text) element.textContent = text;
}

export function setLanguage(next) {
  if (!(next in TABLES)) return;
  current = next;
  remember(next);
  translate();
  for (const listener of listeners) listener(next);
}

/** Calls `listener(language)` after each change. */
export function onLanguage(listener) {
  listeners.add(listener);
}
