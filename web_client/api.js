// The HTTP contract of a Koubo server, one function a request.
import { authorization, hasToken, renewToken } from "./token.js";

/** The status of a session whose machine is gone, in a cluster. */
export const LOST = 410;

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
export async function shown(picture) {
  return hasToken() ? URL.createObjectURL(await (await request(picture)).blob()) : picture;
}

export async function listAvatars() {
  const avatars = await json("/v1/avatars");
  return Promise.all(avatars.map(async (avatar) => ({ ...avatar, preview: await shown(avatar.preview) })));
}

const avatar = (name, rest = "") => `/v1/avatars/${encodeURIComponent(name)}${rest}`;
const job = (id, rest = "") => `/v1/avatars/jobs/${encodeURIComponent(id)}${rest}`;

export const listJobs = () => json("/v1/avatars/jobs");
export const readJob = (id) => json(job(id));
export const createJob = (wanted) => json("/v1/avatars/jobs", "POST", wanted);
export const cancelJob = (id) => request(job(id), { method: "DELETE" });
export const deleteAvatar = (name) => request(avatar(name), { method: "DELETE" });

/** Sends the video of a job; resolves when the server has it whole. */
export async function sendVideo(id, file) {
  const type = file.type.startsWith("video/") ? file.type : "application/octet-stream";
  await request(job(id, "/video"), { method: "PUT", headers: { "Content-Type": type }, body: file });
}

/** Takes in a presenter that was exported; resolves with it. */
export async function importAvatar(file) {
  const headers = { "Content-Type": "application/zip" };
  return (await request(avatar("import"), { method: "POST", headers, body: file })).json();
}

/** A presenter as a zip file. */
export const exportAvatar = async (name) => (await request(avatar(name, "/export.zip"))).blob();

export const listVoices = () => json("/v1/voices");
export const createSession = (avatar) => json("/v1/sessions", "POST", { avatar });
export const readSession = (id) => json(session(id));
export const changeAvatar = (id, avatar) => json(session(id), "PATCH", { avatar });
export const interrupt = (id) => json(session(id, "/interrupt"), "POST");

/** Queues a text; an empty voice lets the server choose by the language of the text. */
export const speak = (id, text, voice) => post(session(id, "/speak"), voice ? { text, voice } : { text });

async function post(url, body) {
  const headers = { "Content-Type": "application/json" };
  await request(url, { method: "POST", headers, body: JSON.stringify(body) });
}

/** Has the server load a presenter that may take over soon. */
export const prepareAvatar = (id, avatar) => post(session(id, "/prepare"), { avatar });
export const showClip = (id, clip) => post(session(id, "/clips"), { clip });

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
