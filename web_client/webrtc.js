// What WHIP (RFC 9725) and WHEP share: one POST of an offer, one answer, one DELETE.
import { request } from "./api.js";
import { authorization } from "./token.js";

const GATHERING_CAP_MS = 400;

/** ICE servers named by a `Link` header (RFC 9725, section 4.6). */
export function parseIceServers(header) {
  const servers = [];
  const link = /<([^>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^;,"\s]*))*)/g;
  for (const [, target, tail] of (header ?? "").matchAll(link)) {
    const pairs = [...tail.matchAll(/([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;,"\s]*))/g)];
    const given = Object.fromEntries(
      pairs.map(([, key, quoted, bare]) => [key, quoted?.replace(/\\(.)/g, "$1") ?? bare]),
    );
    if (given.rel !== "ice-server") continue;
    const server = { urls: [target] };
    if (given.username !== undefined) server.username = given.username;
    if (given.credential !== undefined) server.credential = given.credential;
    servers.push(server);
  }
  return servers;
}

/** Waits for the candidates, but never longer than the cap: one unreachable server must not hold up the picture. */
function gathered(pc) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, GATHERING_CAP_MS);
    function done() {
      clearTimeout(timer);
      pc.removeEventListener("icegatheringstatechange", check);
      resolve();
    }
    function check() {
      if (pc.iceGatheringState === "complete") done();
    }
    pc.addEventListener("icegatheringstatechange", check);
    check();
  });
}

/** Asks the endpoint for ICE servers before the offer, so that their candidates travel inside it. */
async function iceServers(url, signal) {
  const response = await request(url, { method: "OPTIONS", signal });
  return parseIceServers(response.headers.get("link"));
}

/**
 * Opens a WHIP or WHEP resource.
 *
 * `prepare(pc)` adds tracks, transceivers and listeners before the offer is made. Returns the connection and
 * the URL of the resource (null where the server gave none). Throws ApiError where the server refuses.
 */
export async function open(url, prepare, signal = undefined) {
  const pc = new RTCPeerConnection({
    bundlePolicy: "max-bundle",
    iceServers: await iceServers(url, signal),
  });
  try {
    prepare(pc);
    await pc.setLocalDescription();
    await gathered(pc);
    const response = await request(url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: pc.localDescription.sdp,
      signal,
    });
    const location = response.headers.get("location");
    const resource = location ? new URL(location, new URL(url, document.baseURI)).href : null;
    await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
    return { pc, resource };
  } catch (error) {
    pc.close();
    throw error;
  }
}

/** Closes both ends; the server may already have forgotten the resource, which is as good. */
export function hangUp({ pc, resource }) {
  pc.close();
  if (resource) fetch(resource, { method: "DELETE", keepalive: true, headers: authorization() }).catch(() => {});
}

/** Resolves when the connection is lost for good: ended, failed, or interrupted for longer than `patienceMs`. */
export function lost(pc, patienceMs = 3000) {
  // A server that hangs up closes DTLS at once; `connectionState` notices only seconds later.
  const dtls = pc.getTransceivers().find(({ sender }) => sender.transport)?.sender.transport;
  return new Promise((resolve) => {
    let timer = 0;
    function check() {
      clearTimeout(timer);
      const states = [pc.connectionState, dtls?.state];
      if (states.includes("failed") || states.includes("closed")) {
        pc.removeEventListener("connectionstatechange", check);
        dtls?.removeEventListener("statechange", check);
        resolve();
      } else if (pc.connectionState === "disconnected") {
        timer = setTimeout(resolve, patienceMs);
      }
    }
    pc.addEventListener("connectionstatechange", check);
    dtls?.addEventListener("statechange", check);
    check();
  });
}
