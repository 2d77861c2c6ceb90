// A WHEP viewer that comes back by itself: view, notice a loss, wait a little, view again.
import { hangUp, lost, open } from "./webrtc.js";

const STALL_MS = 3000;
const WATCH_MS = 500;
const FIRST_PICTURE_MS = 10000;
const BACKOFF_MS = [250, 500, 1000, 2000, 4000];

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Picture bytes received so far; grows 25 times a second while the session lives, idle or speaking. */
async function pictureBytes(pc) {
  for (const report of (await pc.getStats()).values()) {
    if (report.type === "inbound-rtp" && report.kind === "video") return report.bytesReceived;
  }
  return 0;
}

/** Resolves when no picture has arrived for a while, or `pc` is closed. */
async function stalled(pc) {
  let bytes = -1;
  let since = performance.now();
  let patience = FIRST_PICTURE_MS;
  for (;;) {
    await sleep(WATCH_MS);
    if (pc.connectionState === "closed") return;
    const now = await pictureBytes(pc);
    if (now !== bytes) {
      if (now > 0) patience = STALL_MS;
      bytes = now;
      since = performance.now();
    } else if (performance.now() - since > patience) {
      return;
    }
  }
}

/**
 * Watches a session.
 *
 * `onStream(stream)` is called once per connection; `onState(state, error)` with "connecting", "live" (connected),
 * "lost" (trying again; `error` says why where the server spoke), "gone" (the server knows no such session, or
 * has lost it: 410) or
 * "refused" (the token does not do, and never will).
 */
export class Viewer {
  #url;
  #onState;
  #onStream;
  #stop = new AbortController();
  #link = null;

  constructor(url, { onState, onStream }) {
    this.#url = url;
    this.#onState = onState;
    this.#onStream = onStream;
  }

  /** The present connection, for getStats, or null. */
  get connection() {
    return this.#link?.pc ?? null;
  }

  /** Views until `stop` is called; resolves then. `retryGone` keeps asking for a session that is not there. */
  async run({ retryGone = false } = {}) {
    const { signal } = this.#stop;
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        this.#onState("connecting", null);
        await this.#view(() => {
          attempt = 0;
        });
        if (!signal.aborted) this.#onState("lost", null);
      } catch (error) {
        if (signal.aborted) return;
        const gone = error.status === 404 || error.status === 410;
        const refused = error.status === 401 || error.status === 403;
        this.#onState(gone ? "gone" : refused ? "refused" : "lost", error);
        if (refused || (gone && !retryGone)) return;
      }
      await sleep(BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length - 1)]);
    }
  }

  async #view(onLive) {
    const link = await open(this.#url, (pc) => this.#prepare(pc, onLive), this.#stop.signal);
    this.#link = link;
    if (!this.#stop.signal.aborted) await Promise.race([lost(link.pc), stalled(link.pc)]);
    this.#leave();
  }

  /** Closes the connection, once; `told: false` leaves it to others to tell the server. */
  #leave(told = true) {
    const link = this.#link;
    this.#link = null;
    if (link) hangUp(told ? link : { pc: link.pc, resource: null });
  }

  #prepare(pc, onLive) {
    const stream = new MediaStream();
    pc.addTransceiver("video", { direction: "recvonly" });
    pc.addTransceiver("audio", { direction: "recvonly" });
    pc.addEventListener("track", ({ track }) => {
      stream.addTrack(track);
      if (track.kind === "video") this.#onStream(stream);
    });
    pc.addEventListener("connectionstatechange", () => {
      if (pc.connectionState !== "connected" || this.#stop.signal.aborted) return;
      onLive();
      this.#onState("live", null);
    });
  }

  /** Ends the view at once; `told: false` where the end of the whole session tells the server. */
  stop({ told = true } = {}) {
    this.#stop.abort();
    this.#leave(told);
  }
}
