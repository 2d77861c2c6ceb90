"""From a microphone to the mouth: how long, found in what a viewer received.

The sound that comes back is found in the sound that was sent by correlation; the delay is the time from a
sound's packet leaving the client to the arrival of the last packet of the picture with the same media time.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples
from streaming.webrtc.client import PACKET_SAMPLES
from streaming.webrtc.sending import VIDEO_CLOCK

_WINDOW = 8 * SAMPLES_PER_TICK
_REACH_S = 2.0
_STEP_TICKS = 3
_LOUD = 0.01
_SURE = 0.6


class Sent(Protocol):
    """What a microphone said, and when: `sent[n]` for the 20 ms from sample n * 320 on."""

    sent: list[float]

    def samples(self, start: int, stop: int) -> Samples:
        """From sample `start` to `stop`, at 16 kHz, counted from its beginning."""
        ...


def mic_to_mouth(
    microphone: Sent,
    arrived: Mapping[int, float],
    heard: Sequence[tuple[int, Samples]],
    since: float = 0.0,
    until: float = float("inf"),
) -> list[float]:
    """Seconds from a sound's leaving to the arrival of its picture, for some of the pictures with speech.

    `arrived`: times by RTP time of the picture, in order, from the connection's first one on; `heard`: sound
    by its place in samples at 16 kHz since the connection's first. Only pictures that arrived in [since,
    until).
    """
    if not heard or not arrived:
        return []
    line = _line(heard)
    first = next(iter(arrived))
    delays: list[float] = []
    for number, (stamp, came) in enumerate(arrived.items()):
        if number % _STEP_TICKS or not since <= came < until:
            continue
        at = ((stamp - first) & 0xFFFFFFFF) * SAMPLE_RATE // VIDEO_CLOCK
        sound = line[at : at + _WINDOW]
        if sound.size < _WINDOW or np.sqrt(np.mean(sound**2)) < _LOUD:
            continue
        position = _find(sound, microphone, came)
        if position is not None:
            delays.append(came - microphone.sent[position // PACKET_SAMPLES])
    return delays


def _line(heard: Sequence[tuple[int, Samples]]) -> Samples:
    """What was heard, laid out by media time at 16 kHz."""
    line = np.zeros(max(at + part.size for at, part in heard), np.float32)
    for at, part in heard:
        line[at : at + part.size] = part
    return line


def _find(sound: Samples, microphone: Sent, arrived: float) -> int | None:
    """Where in the sent sound (in samples from its start) `sound` begins, among what was sent lately."""
    last = int(np.searchsorted(microphone.sent, arrived + _WINDOW / SAMPLE_RATE)) * PACKET_SAMPLES
    start = max(0, last - int(_REACH_S * SAMPLE_RATE) - _WINDOW)
    sent = microphone.samples(start, last)
    if sent.size < sound.size:
        return None
    size = 1 << int(sent.size + sound.size).bit_length()
    product = np.fft.irfft(np.fft.rfft(sent, size) * np.conj(np.fft.rfft(sound, size)), size)
    match = product[: sent.size - sound.size + 1]
    energy = np.concatenate([[0.0], np.cumsum(sent.astype(np.float64) ** 2)])
    norm = np.sqrt(
        (energy[sound.size :] - energy[: -sound.size]) * float(np.sum(sound.astype(np.float64) ** 2))
    )
    likeness = match / np.maximum(norm, 1e-9)
    best = int(np.argmax(likeness))
    return start + best if likeness[best] > _SURE else None
