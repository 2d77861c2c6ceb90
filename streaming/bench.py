"""`koubo bench live`: how late ticks are, and how long a sound takes from the microphone to the mouth.

A real server in a process of its own, real WebRTC connections, encoding included. Each client publishes
speech by WHIP and watches by WHEP. The sound that comes back is found in the sound that was sent by
correlation; the delay is the time from a sound's packet leaving the client to the arrival of the last packet
of the picture with the same media time.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from aiortc import RTCPeerConnection
from aiortc.mediastreams import MediaStreamError

from engine.errors import KouboError
from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples
from engine.speech.espeak import speak
from streaming.bench_server import Server, running_server, server_command
from streaming.encoding.base import SOUND_CLOCK
from streaming.pacing import percentiles
from streaming.webrtc.client import PACKET_SAMPLES, ClipTrack, Watcher, publish
from streaming.webrtc.ending import close_connection
from streaming.webrtc.sending import VIDEO_CLOCK

_WARM_UP_S = 3.0
_CLIP_S = 60.0
_WINDOW = 8 * SAMPLES_PER_TICK
_REACH_S = 2.0
_STEP_TICKS = 3
_LOUD = 0.01
_SURE = 0.6


def bench_live(
    sessions: int, seconds: float, command: Callable[[int], list[str]] = server_command
) -> dict[str, Any]:
    """Measure `sessions` sessions at once for `seconds` seconds; `command(port)` starts the server.

    Returns {"sessions", "ticks", "late_ticks_ratio", "tick_lateness_ms", "mic_to_mouth_ms", "rss_mb"}; the
    tick lateness is that of the worst session, percentiles are {"p50", "p95", "p99"} in milliseconds. Raises
    KouboError when the server does not start or no sound comes back.
    """
    return asyncio.run(_bench(sessions, seconds, command))


@dataclass(frozen=True, slots=True)
class _Client:
    """One session from outside: its microphone, its view, and the sound that came back by media time."""

    path: str
    track: ClipTrack
    sender: RTCPeerConnection
    watcher: Watcher
    heard: list[tuple[int, Samples]]
    listener: asyncio.Task[None]

    async def close(self) -> None:
        self.listener.cancel()
        await asyncio.wait([self.listener])
        await close_connection(self.sender)
        await self.watcher.close()


async def _open(server: Server, clip: Samples) -> _Client:
    opened = json.loads(await server.request("POST", "/v1/sessions"))
    watcher = Watcher(decode=False)
    await watcher.connect(server.exchange(opened["whep"]))
    track = ClipTrack(clip)
    sender = await publish(track, server.exchange(opened["whip"]))
    heard: list[tuple[int, Samples]] = []
    listener = asyncio.create_task(_listen(watcher, heard))
    return _Client(f"/v1/sessions/{opened['id']}", track, sender, watcher, heard, listener)


async def _listen(watcher: Watcher, heard: list[tuple[int, Samples]]) -> None:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    while True:
        try:
            frame = await watcher.sounds.recv()
        except MediaStreamError:
            return
        assert isinstance(frame, av.AudioFrame)
        assert frame.pts is not None
        pts, frame.pts = frame.pts, None
        parts = [np.asarray(part.to_ndarray(), np.float32).reshape(-1) for part in resampler.resample(frame)]
        heard.append(
            (pts * SAMPLE_RATE // SOUND_CLOCK, np.concatenate(parts) if parts else np.zeros(0, np.float32))
        )


async def _bench(sessions: int, seconds: float, command: Callable[[int], list[str]]) -> dict[str, Any]:
    clip = await asyncio.to_thread(_clip)
    async with running_server(sessions, command) as server:
        # Clients begin at different moments of the clip, as people do.
        clients = [await _open(server, np.roll(clip, -number * SAMPLE_RATE)) for number in range(sessions)]
        try:
            await asyncio.sleep(_WARM_UP_S)
            before = [json.loads(await server.request("GET", client.path)) for client in clients]
            await asyncio.sleep(seconds)
            after = [json.loads(await server.request("GET", client.path)) for client in clients]
            rss = server.rss_mb()
        finally:
            for client in clients:
                await client.close()
    ticks = sum(b["ticks"] - a["ticks"] for a, b in zip(before, after, strict=True))
    late = sum(b["late_ticks"] - a["late_ticks"] for a, b in zip(before, after, strict=True))
    delays = [
        delay for client in clients for delay in mic_to_mouth(client.track, client.watcher, client.heard)
    ]
    if not delays:
        raise KouboError("No sound came back from the server; check its log.")
    names = ("p50", "p95", "p99")
    return {
        "sessions": sessions,
        "ticks": ticks,
        "late_ticks_ratio": round(late / max(1, ticks), 5),
        "tick_lateness_ms": {
            name: max(status["tick_lateness_ms"][name] for status in after) for name in names
        },
        "mic_to_mouth_ms": percentiles([1000 * delay for delay in delays]),
        "rss_mb": rss,
    }


def _clip() -> Samples:
    """A minute of speech that never says the same twice."""
    parts: list[Samples] = []
    while sum(part.size for part in parts) < _CLIP_S * SAMPLE_RATE:
        parts.append(speak(f"This is sentence number {101 * len(parts) + 17}.", "en-us").samples)
    return np.concatenate(parts)[: int(_CLIP_S * SAMPLE_RATE)]


def mic_to_mouth(track: ClipTrack, watcher: Watcher, heard: list[tuple[int, Samples]]) -> list[float]:
    """Seconds from a sound's leaving to the arrival of its picture, for pictures with speech."""
    if not heard or not watcher.frames.arrived:
        return []
    line = _line(heard)
    first = next(iter(watcher.frames.arrived))
    delays: list[float] = []
    for number, (stamp, arrived) in enumerate(watcher.frames.arrived.items()):
        if number % _STEP_TICKS:
            continue
        at = ((stamp - first) & 0xFFFFFFFF) * SAMPLE_RATE // VIDEO_CLOCK
        sound = line[at : at + _WINDOW]
        if sound.size < _WINDOW or np.sqrt(np.mean(sound**2)) < _LOUD:
            continue
        position = _find(sound, track, arrived)
        if position is not None:
            delays.append(arrived - track.sent[position // PACKET_SAMPLES])
    return delays


def _line(heard: list[tuple[int, Samples]]) -> Samples:
    """What was heard, laid out by media time at 16 kHz."""
    line = np.zeros(max(at + part.size for at, part in heard), np.float32)
    for at, part in heard:
        line[at : at + part.size] = part
    return line


def _find(sound: Samples, track: ClipTrack, arrived: float) -> int | None:
    """Where in the sent sound (in samples from its start) `sound` begins, among what was sent lately."""
    last = int(np.searchsorted(track.sent, arrived + _WINDOW / SAMPLE_RATE)) * PACKET_SAMPLES
    start = max(0, last - int(_REACH_S * SAMPLE_RATE) - _WINDOW)
    sent = track.samples(start, last)
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
