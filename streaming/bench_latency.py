"""`koubo bench latency`: how long a viewer waits for what it asks of a live server that is busy.

A real server in a process of its own and real WebRTC on loopback; further sessions speak all the time beside
the one that is looked at. Each trial speaks a text and interrupts it in its middle, at any moment of a tick,
then somebody joins: a session is opened and watched. A picture has arrived with its last packet; its mouth
moves when it is unlike every picture of the anchor video, more than it ever is while nobody speaks. Sound is
speech when it is louder than any silence. From microphone to mouth is measured at the other sessions. What a
player adds (its jitter buffer, its screen) is not in these figures.
"""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import av
import cv2
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from numpy.typing import NDArray

from engine.anchor.card import ANCHOR, AvatarCard, read_card
from engine.anchor.package import find_avatar
from engine.errors import KouboError
from engine.picture.video import read_i420
from streaming.bench_clip import EncodedClip, speech_clip
from streaming.bench_crowd import Crowd
from streaming.bench_server import Server, running_server, server_command, until_ready
from streaming.pacing import percentiles
from streaming.webrtc.client import Watcher
from streaming.webrtc.light import LightWatcher

TEXT = "Good evening everybody, and welcome to the show; tonight we have a great deal to talk about."

_CALM_S = 2.5
"""Before the trials: what pictures and sound are while nobody speaks."""
_QUIET_S = 0.6
"""Between trials."""
_LASTS_S = 0.3
"""How long a pause must last to be silence; later, a key frame of poor quality may pass for a mouth."""
_SPEAKS_S = (0.8, 1.6)
"""How long a text may be spoken before it is interrupted."""
_WAIT_S = 8.0
_LOUD = 0.003
"""RMS of a packet's sound that is no silence, of 1."""
_UNLIKE = 2.0
"""How much more than ever in silence a mouth must differ from the anchor to have moved."""
_SPOKEN = ("text_to_sound", "text_to_mouth")
_OBEYED = ("interrupt_to_silence", "interrupt_to_closed_mouth")
_JOIN = "join"
_MIC = "mic_to_mouth"
NAMES = (_MIC, *_SPOKEN, *_OBEYED, _JOIN)

_SETTLE_S = 4.0
"""For the other sessions, before anything is measured."""
_BOX_MARGIN = 0.1
_SHRINK = 2

Luma = NDArray[np.float32]


@dataclass(slots=True)
class Log:
    """What a viewer got: times of arrival, in seconds, and how much there was of it."""

    times: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)

    def first_above(self, level: float, since: float) -> float | None:
        """When something above `level` first arrived after `since`."""
        pairs = zip(self.times, self.levels, strict=True)
        return next((time for time, found in pairs if time >= since and found > level), None)

    def settled(self, level: float, since: float, lasting: float) -> float | None:
        """When, after `since`, the first of those came that stay at or below `level` for `lasting` seconds,
        or None.
        """
        found = None
        for time, now in zip(self.times, self.levels, strict=True):
            if time < since:
                continue
            if now > level:
                found = None
            elif found is None:
                found = time
            elif time - found >= lasting:
                return found
        return None

    def highest(self) -> float:
        """The highest level so far, 0 without any."""
        return max(self.levels, default=0.0)

    def clear(self) -> None:
        """Forget everything."""
        self.times.clear()
        self.levels.clear()


class MouthWatch:
    """Tells how unlike a picture's mouth is to every mouth of the anchor video, in grey levels of 255."""

    def __init__(self, card: AvatarCard, frames: Sequence[NDArray[np.uint8]]) -> None:
        width, height = card.size
        left, top, right, bottom = card.mouth_box
        middle = np.array([(crop.cx, crop.cy) for crop in card.crops]).mean(axis=0)
        side = float(np.mean([crop.size for crop in card.crops]))
        corner = middle - side / 2
        x0, y0 = np.floor(corner + side * np.array([left - _BOX_MARGIN, top - _BOX_MARGIN])).astype(int)
        x1, y1 = np.ceil(corner + side * np.array([right + _BOX_MARGIN, bottom + _BOX_MARGIN])).astype(int)
        self._rows = slice(max(0, y0), min(height, y1))
        self._columns = slice(max(0, x0), min(width, x1))
        self._height = height
        self._anchor = np.stack([self._mouth(frame) for frame in frames])

    def unlikeness(self, frame: NDArray[np.uint8]) -> float:
        """Of an I420 picture (h * 3 // 2, w)."""
        return float(np.abs(self._anchor - self._mouth(frame)).mean(axis=(1, 2)).min())

    def _mouth(self, frame: NDArray[np.uint8]) -> Luma:
        luma = frame[: self._height][self._rows, self._columns]
        size = (max(1, luma.shape[1] // _SHRINK), max(1, luma.shape[0] // _SHRINK))
        small: Luma = cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        return small


def bench_latency(
    trials: int,
    command: Callable[[int], list[str]] = server_command,
    *,
    sessions: int = 0,
    tell: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Measure `trials` texts, their interrupts and joins, with `sessions` more sessions that speak.

    `command(port)` starts the server, `tell(trials done)` hears how far it is. Returns {"trials", "sessions",
    NAME_ms for each of `NAMES`, "trials_ms": {NAME: [...]}}: percentiles {"p50", "p95", "p99"}, and each
    trial, in milliseconds from the sending of a request, or of a sound, to an arrival at the viewer. Without
    further sessions there is no mic_to_mouth.

    Raises KouboError when the server does not start, or nothing is spoken.
    """
    return asyncio.run(_bench(trials, command, sessions, tell))


async def _bench(
    trials: int, command: Callable[[int], list[str]], sessions: int, tell: Callable[[int], None]
) -> dict[str, Any]:
    clip = await asyncio.to_thread(lambda: EncodedClip.of(speech_clip() if sessions else speech_clip(1.0)))
    clock = asyncio.get_running_loop().time
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(sessions + 2, command))
        await until_ready(server)
        crowd = Crowd(server, clip, stack)
        for _ in range(sessions):
            await crowd.enter()
        opened = json.loads(await server.request("POST", "/v1/sessions"))
        path = f"/v1/sessions/{opened['id']}"
        avatar = json.loads(await server.request("GET", path))["avatar"]
        mouths = await asyncio.to_thread(_mouth_watch, avatar)
        watcher = Watcher()
        await watcher.connect(server.exchange(opened["whep"]))
        viewer = await stack.enter_async_context(aclosing(_Viewer(watcher, mouths)))
        await asyncio.sleep(_SETTLE_S if sessions else 0.0)
        since = clock()
        found = await viewer.measure(server, path, trials, tell)
        if sessions:
            (found[_MIC],) = crowd.delays_ms([(since, clock())])
    return (
        {"trials": trials, "sessions": sessions}
        | {f"{name}_ms": percentiles(delays) for name, delays in found.items()}
        | {"trials_ms": {name: [round(delay, 1) for delay in delays] for name, delays in found.items()}}
    )


async def _join(server: Server) -> float:
    """Seconds from the request for a session to its first whole picture; the session is ended again."""
    clock = asyncio.get_running_loop().time
    asked = clock()
    opened = json.loads(await server.request("POST", "/v1/sessions"))
    watcher = LightWatcher()
    try:
        await watcher.connect(server.exchange(opened["whep"]))
        async with asyncio.timeout(_WAIT_S):
            await watcher.began.wait()
    except TimeoutError as error:
        raise KouboError(f"No picture came within {_WAIT_S:g} s; check the server's log.") from error
    finally:
        await watcher.close()
        await server.request("DELETE", f"/v1/sessions/{opened['id']}")
    return next(iter(watcher.arrived.values())) - asked


def _mouth_watch(avatar: str) -> MouthWatch:
    folder = find_avatar(avatar)
    return MouthWatch(read_card(folder), list(read_i420(folder / ANCHOR)))


class _Viewer:
    """A WHEP viewer that notes what arrives."""

    def __init__(self, watcher: Watcher, mouths: MouthWatch) -> None:
        self._watcher = watcher
        self._mouths = mouths
        self._came = asyncio.Event()
        self._pictures = Log()
        self._sounds = Log()
        self._clock = asyncio.get_running_loop().time
        self._tasks = [
            asyncio.create_task(self._take(self._watcher.pictures, self._picture)),
            asyncio.create_task(self._take(self._watcher.sounds, self._sound)),
        ]

    async def measure(
        self, server: Server, path: str, trials: int, tell: Callable[[int], None]
    ) -> dict[str, list[float]]:
        """Each trial's delays by name, in milliseconds."""
        for log in (self._pictures, self._sounds):
            await self._until(partial(log.first_above, -1.0, 0.0), "Nothing came")
        await asyncio.sleep(_QUIET_S)  # the encoder's first pictures are its worst
        self._forget()
        await asyncio.sleep(_CALM_S)
        still = _UNLIKE * self._pictures.highest()
        silent = max(_LOUD, _UNLIKE * self._sounds.highest())
        sound, mouth = (self._sounds, silent), (self._pictures, still)
        delays: dict[str, list[float]] = {name: [] for name in (*_SPOKEN, *_OBEYED, _JOIN)}
        for number in range(trials):
            tell(number)
            self._forget()
            asked = self._clock()
            await server.request("POST", f"{path}/speak", json.dumps({"text": TEXT}), "application/json")
            for name, (log, level) in zip(_SPOKEN, (sound, mouth), strict=True):
                begins = partial(log.first_above, level, asked)
                delays[name].append(await self._until(begins, "Nothing was spoken") - asked)
            await asyncio.sleep(random.Random(number).uniform(*_SPEAKS_S))
            stopped = self._clock()
            await server.request("POST", f"{path}/interrupt")
            for name, (log, level) in zip(_OBEYED, (sound, mouth), strict=True):
                ends = partial(log.settled, level, stopped, _LASTS_S)
                delays[name].append(await self._until(ends, "An interrupt was not obeyed") - stopped)
            await asyncio.sleep(_QUIET_S)
            delays[_JOIN].append(await _join(server))
        return {name: [1000 * delay for delay in found] for name, found in delays.items()}

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._watcher.close()

    def _forget(self) -> None:
        self._pictures.clear()
        self._sounds.clear()

    async def _until(self, look: Callable[[], float | None], otherwise: str) -> float:
        """What `look` finds, asked whenever something arrived."""
        try:
            async with asyncio.timeout(_WAIT_S):
                while (found := look()) is None:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError as error:
            raise KouboError(f"{otherwise} within {_WAIT_S:g} s; check the server's log.") from error
        return found

    async def _take(self, track: MediaStreamTrack, note: Callable[[Any], None]) -> None:
        while True:
            try:
                note(await track.recv())
            except MediaStreamError:
                return
            self._came.set()

    def _picture(self, frame: av.VideoFrame) -> None:
        self._pictures.times.append(self._watcher.arrival(frame))
        picture = np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8)
        self._pictures.levels.append(self._mouths.unlikeness(picture))

    def _sound(self, frame: av.AudioFrame) -> None:
        self._sounds.times.append(self._clock())
        sound = frame.to_ndarray().astype(np.float32) / 32768
        self._sounds.levels.append(float(np.sqrt(np.mean(sound**2))))
