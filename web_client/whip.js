// A WHIP publisher of one microphone track.
import { hangUp, lost, open } from "./webrtc.js";

/** Publishes a microphone. `onLost` is called once when the connection breaks without `stop`. */
export class Publisher {
  #link = null;
  #sender = null;
  #onLost;

  constructor(onLost) {
    this.#onLost = onLost;
  }

  get connection() {
    return this.#link?.pc ?? null;
  }

  /** Opens the resource and sends `track`; throws ApiError where the server refuses, e.g. 409 for a second one. */
  async start(url, track) {
    const link = await open(url, (pc) => {
      this.#sender = pc.addTransceiver(track, { direction: "sendonly" }).sender;
    });
    this.#link = link;
    lost(link.pc).then(() => {
      if (this.#link !== link) return;
      this.stop();
      this.#onLost();
    });
  }

  /** Sends another microphone over the same connection, without a gap in the session. */
  async replace(track) {
    await this.#sender.replaceTrack(track);
  }

  stop() {
    if (this.#link) hangUp(this.#link);
    this.#link = null;
    this.#sender = null;
  }
}
