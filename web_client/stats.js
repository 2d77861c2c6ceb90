// Live figures of one view from getStats and the server's own account of the session.

function reports(stats) {
  const found = { video: null, audio: null, pair: null, sent: null };
  let pairId = null;
  for (const report of stats.values()) {
    if (report.type === "inbound-rtp" && report.kind === "video") found.video = report;
    else if (report.type === "inbound-rtp" && report.kind === "audio") found.audio = report;
    else if (report.type === "transport" && report.selectedCandidatePairId) pairId = report.selectedCandidatePairId;
    else if (report.type === "candidate-pair" && (report.nominated || report.selected)) found.pair ??= report;
  }
  if (pairId) found.pair = stats.get(pairId) ?? found.pair;
  return found;
}

const grown = (now, before, field) => Math.max(0, (now?.[field] ?? 0) - (before?.[field] ?? 0));

/** Mean of a pair of counters (sum, count) over the last interval, in milliseconds; 0 where nothing happened. */
function meanMs(now, before, sum, count) {
  const events = grown(now, before, count);
  return events > 0 ? (1000 * grown(now, before, sum)) / events : 0;
}

async function roundTripMs(pc) {
  if (!pc) return null;
  const { pair } = reports(await pc.getStats());
  return pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000;
}

/** Remembers the last reading, because most figures are rates. */
export class Gauge {
  #before = null;

  /**
   * Reads a viewing connection, and a publishing one if there is any.
   *
   * Returns {fps, delayMs, roundTripMs, lateRatio, lateTicks, bitrate, lossRatio}; a figure that cannot be known
   * yet is null. `delayMs` is the way to this screen: half the round trip, the receiver's jitter buffer and the
   * decoder; with a microphone also its way to the server and the speech that waits there.
   */
  async read(viewing, publishing, server) {
    const figures = {
      fps: null,
      delayMs: null,
      roundTripMs: null,
      bitrate: null,
      lossRatio: null,
      lateRatio: server?.late_ticks_ratio ?? null,
      lateTicks: server?.late_ticks ?? null,
    };
    if (!viewing) {
      this.#before = null;
      return figures;
    }
    const now = reports(await viewing.getStats());
    const before = this.#before;
    this.#before = now;
    figures.roundTripMs = now.pair?.currentRoundTripTime === undefined ? null : now.pair.currentRoundTripTime * 1000;
    if (!before || !now.video || now.video.id !== before.video?.id) return figures;
    const seconds = (now.video.timestamp - before.video.timestamp) / 1000;
    if (seconds <= 0) return figures;
    const bytes = grown(now.video, before.video, "bytesReceived") + grown(now.audio, before.audio, "bytesReceived");
    const lost = grown(now.video, before.video, "packetsLost") + grown(now.audio, before.audio, "packetsLost");
    const got = grown(now.video, before.video, "packetsReceived") + grown(now.audio, before.audio, "packetsReceived");
    figures.fps = grown(now.video, before.video, "framesDecoded") / seconds;
    figures.bitrate = (8 * bytes) / seconds;
    figures.lossRatio = lost + got > 0 ? lost / (lost + got) : 0;
    figures.delayMs =
      (figures.roundTripMs ?? 0) / 2 +
      meanMs(now.video, before.video, "jitterBufferDelay", "jitterBufferEmittedCount") +
      meanMs(now.video, before.video, "totalDecodeTime", "framesDecoded");
    if (publishing) figures.delayMs += ((await roundTripMs(publishing)) ?? 0) / 2 + (server?.backlog_ms ?? 0);
    return figures;
  }
}
