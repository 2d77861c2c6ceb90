// The token of this page, where the server wants one: from the page's own address (a link to watch), or asked for
// once and kept for this tab.

const STORE = "koubo.token";

/** sessionStorage throws where the user blocks site data; the page then asks again after a reload. */
function kept() {
  try {
    return sessionStorage.getItem(STORE);
  } catch {
    return null;
  }
}

function keep(value) {
  try {
    sessionStorage.setItem(STORE, value);
  } catch {
    // Nothing is kept.
  }
}

let token = new URLSearchParams(location.search).get("token") ?? kept();
let ask = null;
let asking = null;

export const hasToken = () => token !== null;

/** The headers that a request needs besides its own. */
export const authorization = () => (token === null ? {} : { Authorization: `Bearer ${token}` });

/** `asker()` is called when the server wants a token; it resolves with one, or with "" where nobody gives it. */
export function onTokenWanted(asker) {
  ask = asker;
}

/** Gets a token other than `refused`, the headers that did not do; resolves with whether there is one now. */
export async function renewToken(refused) {
  if (refused.Authorization !== authorization().Authorization) return true;
  if (ask === null) return false;
  // Several requests are refused together; one question is enough.
  asking ??= ask().finally(() => {
    asking = null;
  });
  const given = await asking;
  if (!given) return false;
  token = given;
  keep(given);
  return true;
}
