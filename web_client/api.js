// The HTTP contract of a Koubo server, one function a request.
import { authorization, hasToken, renewToken } from "./token.js";

/** A request that the server refused, or that never reached it (`status` 0). */
export class ApiError extends Error {
  constructor(status, detail) {
    super(detail || `HTTP ${status}`);
    this.name = "ApiError";
    this.status = status;
    this.detail = detail;
  }
}

/** Turns a refused response into an ApiError that carries the server's own sentence, where it gave one. */
export async function refuse(response) {
  let detail = "";
  if ((response.headers.get("content-type") ?? "").includes("json")) {
    const body = await response.json().catch(() => ({}));
    if (typeof body.detail === "string") detail = body.detail;
  }
  return new ApiError(response.status, detail);
}

const UNAUTHORIZED = 401;

/** `fetch` with the page's token, whose failures are ApiErrors; resolves only with a 2xx response. */
export async function request(url, options = {}) {
  for (;;) {
    const proof = authorization();
    let response;
    try {
      response = await fetch(url, { cache: "no-store", ...options, headers: { ...options.headers, ...proof } });
    } catch (cause) {
      if (cause.name === "AbortError") throw cause;
      throw new ApiError(0, "");
    }
    if (response.ok) return response;
    if (response.status !== UNAUTHORIZED || !(await renewToken(proof))) throw await refuse(response);
  }
}

async function json(url, method = "GET", body = undefined) {
  const options = { method };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  return (await request(url, options)).json();
}

const session = (id, rest = "") => `/v1/sessions/${encodeURIComponent(id)}${rest}`;

/** An address that an <img> can show: browsers send no token with those of the server. */
async function shown(picture) {
  return hasToken() ? URL.createObjectURL(await (await request(picture)).blob()) : picture;
}

export async function listAvatars() {
  const avatars = await json("/v1/avatars");
  return Promise.all(avatars.map(async (avatar) => ({ ...avatar, preview: await shown(avatar.preview) })));
}

export const listVoices = () => json("/v1/voices");
export const createSession = (avatar) => json("/v1/sessions", "POST", { avatar });
export const readSession = (id) => json(session(id));
export const interrupt = (id) => json(session(id, "/interrupt"), "POST");

/** Queues a text; an empty voice lets the server choose by the language of the text. */
export async function speak(id, text, voice) {
  await request(session(id, "/speak"), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(voice ? { text, voice } : { text }),
  });
}

/** Ends a session. `keepalive` lets the request outlive the page that sends it. */
export function endSession(id) {
  return fetch(session(id), { method: "DELETE", keepalive: true, headers: authorization() });
}

export const listOutlets = (id) => json(session(id, "/outlets"));
export const createOutlet = (id, wanted) => json(session(id, "/outlets"), "POST", wanted);

/** Ends an outlet; resolves when its file is finished. */
export async function removeOutlet(id, outlet) {
  await request(session(id, `/outlets/${encodeURIComponent(outlet)}`), { method: "DELETE" });
}

export const whepUrl = (id) => session(id, "/whep");

const LINK_S = 86400;

/** The address of the player; where tokens are needed, with one that watches this session alone for a day. */
export async function playerUrl(id) {
  const path = hasToken()
    ? (await json(session(id, "/watch-links"), "POST", { seconds: LINK_S })).player
    : `/player?session=${encodeURIComponent(id)}`;
  return new URL(path, location.href).href;
}
