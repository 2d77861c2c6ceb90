"""`koubo bench batching`: what it saves that the mouths of all sessions are drawn in batches.

The room in which a server draws mouths, with its threads and its scheduler, and sessions that do nothing but
need a mouth each tick, as when everybody speaks. The same load is drawn in batches and one by one, by turns,
so that a machine that slows down slows both. Processor time is the whole process's.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from engine.anchor.package import Avatar
from engine.mouth.batches import MAX_BATCH
from engine.mouth.features import AnchorFeatures
from engine.mouth.request import MouthRequest
from engine.mouth.runtime import Features, MouthRuntime
from engine.speech.audio import FRAME_RATE
from engine.speech.espeak import speak
from engine.speech.mel import Mel, log_mel, window
from streaming.drawing import MouthRoom, Patches, Workers
from streaming.pacing import TICK_S, on_grid, percentiles

MODES = {"batched": MAX_BATCH, "one_by_one": 1}
"""The most faces of a call."""

_STRIDE = 7
"""Frames between sessions, which do not show the same one."""

_FRAMES = 48
_MELS = 2 * FRAME_RATE

_SETTLE = FRAME_RATE // 2


@dataclass(frozen=True, slots=True)
class Material:
    """What there is to draw: features of anchor frames, and mel windows (n, 80, 16) of speech."""

    mouth: MouthRuntime
    features: Sequence[Features]
    mels: Mel


def material(avatar: Avatar, mouth: MouthRuntime) -> Material:
    """A presenter's first frames and a sentence."""
    restricted = mouth.restricted(avatar.paste_region)
    features = AnchorFeatures(avatar, restricted)
    mel = log_mel(speak("She sells sea shells by the sea shore.", "en-us").samples)
    mels = np.stack([window(mel, tick) for tick in range(_MELS)])
    return Material(restricted, [features[frame] for frame in range(min(_FRAMES, avatar.frames))], mels)


@dataclass(frozen=True, slots=True)
class _Begun:
    requests: tuple[MouthRequest, ...]


@dataclass(slots=True)
class _Tally:
    """What was drawn in one mode."""

    cpu_s: float = 0.0
    drawn: int = 0
    repeated: int = 0
    lateness: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def work(self, kind: str, seconds: float) -> None:
        """The processor time is taken from the process."""

    def mouth_batch(self, faces: int) -> None:
        """So many faces were drawn in one call."""
        self.batches.append(faces)

    def figures(self) -> dict[str, Any]:
        """As they are told."""
        asked = self.drawn + self.repeated
        lateness = percentiles([1000 * value for value in self.lateness])
        return {
            "core_ms_a_mouth": round(1000 * self.cpu_s / max(1, self.drawn), 3),
            "ready_ms": lateness,
            "repeated_ratio": round(self.repeated / max(1, asked), 5),
            "faces_a_call": round(float(np.mean(self.batches)), 2) if self.batches else 0.0,
            "in_time": self.repeated == 0 and lateness["p99"] < 1000 * TICK_S,
        }


def bench_batching(
    material: Material,
    sessions: Sequence[int],
    *,
    seconds: float = 1.0,
    rounds: int = 3,
    threads: int | None = None,
    tell: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> dict[str, Any]:
    """Draw for so many sessions in both modes, `rounds` times `seconds` each; `tell(done, total, what)`.

    Returns {"threads", "steps": [{"sessions", "batched", "one_by_one", "ratio"}]}; both modes have
    {"core_ms_a_mouth", "ready_ms" (percentiles of the milliseconds from a tick's being due to its mouth),
    "repeated_ratio", "faces_a_call", "in_time"}; "ratio" is the processor time one by one over that in
    batches.
    """
    steps: list[dict[str, Any]] = []
    turns = [(number, mode) for number in range(rounds) for mode in MODES]
    with Workers(threads) as workers:
        for place, seats in enumerate(sessions):
            tallies = {mode: _Tally() for mode in MODES}
            for turn, (_, mode) in enumerate(turns):
                tell(place * len(turns) + turn, len(sessions) * len(turns), f"{seats} sessions, {mode}")
                asyncio.run(_draw(workers, material, seats, seconds, MODES[mode], tallies[mode]))
            found = {mode: tally.figures() for mode, tally in tallies.items()}
            spent = [found[mode]["core_ms_a_mouth"] for mode in ("one_by_one", "batched")]
            steps.append({"sessions": seats, **found, "ratio": round(spent[0] / max(1e-9, spent[1]), 3)})
        return {"threads": workers.threads, "steps": steps}


async def _draw(
    workers: Workers, material: Material, seats: int, seconds: float, largest: int, tally: _Tally
) -> None:
    """One turn; the room learns in its first half second, which does not count."""
    room = MouthRoom(workers, tally, largest)
    start = on_grid(workers.clock() + TICK_S)
    ticks = round(seconds * FRAME_RATE)
    crowd = [
        asyncio.create_task(_sit(room, workers, material, number, start, _SETTLE + ticks, tally))
        for number in range(seats)
    ]
    await asyncio.sleep(max(0.0, start + _SETTLE * TICK_S - workers.clock()))
    tally.batches.clear()
    began = time.process_time()
    await asyncio.gather(*crowd)
    tally.cpu_s += time.process_time() - began


async def _sit(
    room: MouthRoom,
    workers: Workers,
    material: Material,
    number: int,
    start: float,
    ticks: int,
    tally: _Tally,
) -> None:
    """One session."""
    places = count(_STRIDE * number)

    def begin() -> _Begun:
        place = next(places)
        window = material.mels[place % len(material.mels)]
        features = material.features[place % len(material.features)]
        return _Begun((MouthRequest(material.mouth, window, features),))

    def complete(begun: _Begun, patches: Patches) -> tuple[bool, float]:
        return patches[0] is not None, workers.clock()

    room.enter(number)
    for slot in range(ticks):
        due = start + slot / FRAME_RATE
        room.expect(number, due)
        await asyncio.sleep(max(0.0, due - workers.clock()))
        drawn, at = await room.tick(number, due, begin, complete, lambda seconds: None)
        if slot >= _SETTLE:
            tally.drawn += drawn
            tally.repeated += not drawn
            tally.lateness.append(max(0.0, at - due))
    room.leave(number)
