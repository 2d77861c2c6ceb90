"""`koubo bench soak --simulated`: eight hours of broadcast in minutes.

Everything that keeps time is the real thing: the session and its pacer, the presenter, its texts and its
microphone, the scheduler of the mouths, the encoders' hub, real Opus. Time is simulated, and what only draws
is cheap: the shipped presenters are fitted into a small picture, the mouth is one colour and is pasted on
every eighth of their frames, and pictures are not compressed. The microphone's clock is 100 ppm fast for the
first half, as slow for the second. Every half hour the machine stands still for two seconds.
"""

import asyncio
import gc
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import count
from typing import IO, Any

import numpy as np

from engine.anchor.package import list_avatars
from engine.live import Tick
from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, Samples
from engine.speech.espeak import speak
from streaming.drain import Drain
from streaming.drawing import MouthRoom
from streaming.metrics import Metrics
from streaming.pacing import TICK_S
from streaming.process_figures import need_proc, read_process
from streaming.sessions import Session, Stage
from streaming.settings import Settings
from streaming.simulated_loop import SimulatedLoop, SimulatedWorkers, run_simulated
from streaming.simulated_stage import CANVAS, MediaClock, NoEncoder, SmallCast
from streaming.soak_figures import (
    Verdict,
    column,
    count_verdict,
    drift_ms,
    drift_verdict,
    memory_verdict,
    named,
    pairs,
    slope,
    told,
)
from streaming.voices.espeak import EspeakVoice

_SAMPLES = 240
"""Lines of a run, whatever its length."""

_PPM = 1e-4
_PACKET = SAMPLE_RATE // 50
_PACKET_S = 0.02
_TEXT_S, _INTERRUPT_S, _GESTURE_S, _CAST_S, _PAUSE_S, _STALL_S = 45.0, 71.0, 33.0, 600.0, 97.0, 1800.0
_STALL_LASTS_S = 2.0
_VIEW_S = 60.0
_MIC_BACKLOG_S = 0.4
"""What of a microphone may wait: the look-ahead and a few packets."""

_TEXT = "Good evening, and welcome to the show. Tonight there is a great deal to talk about. Part {}."

Tell = Callable[[float, float, str], None]


def measure_simulated(seconds: float, tell: Tell) -> dict[str, Any]:
    """A show of so many seconds of simulated time; `tell` hears (seconds done, all, what)."""
    need_proc()
    return simulated_figures(run_simulated(_measure(seconds, tell)))


async def _measure(seconds: float, tell: Tell) -> list[dict[str, Any]]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    settings = Settings(operate_tokens=(), watch_tokens=(), idle_close_s=10 * seconds)
    stage = Stage(
        settings,
        SmallCast(),
        EspeakVoice(),
        SimulatedWorkers(loop),
        Metrics(),
        Drain(settings.drain_s),
        NoEncoder,
    )
    room = MouthRoom(stage.workers, stage.metrics)
    show = _Show(loop, Session(await stage.cast.enter(None), stage, room), seconds)
    for name in list_avatars():
        loaded = (await stage.cast.role(name, CANVAS)).loaded
        for frame in range(loaded.avatar.frames):
            loaded.warm(frame)  # else memory would grow until each frame had been shown once
    gc.collect()
    gc.freeze()  # what is there before the show is not counted
    try:
        return await show.run(tell)
    finally:
        gc.unfreeze()


class _Show:
    """One session and all that happens to it."""

    def __init__(self, loop: SimulatedLoop, session: Session, seconds: float) -> None:
        self._loop = loop
        self._session = session
        self._seconds = seconds
        self._began = loop.time()
        self._receiver = MediaClock(loop.time, self._began)
        self._paused = False
        self._index = -1
        self._gaps = 0
        self._spoken = 0
        self._mic_backlog = 0.0
        self._counts: dict[str, int] = {}
        self._session.on_tick.append(self._see)

    async def run(self, tell: Tell) -> list[dict[str, Any]]:
        """A line for each of 240 parts of the show."""
        self._session.encoders.attach(self._receiver, video="h264", audio="opus")
        session = self._session
        parts = {
            "session": session.run(),
            "microphone": self._microphone(),
            "viewers": self._viewers(),
            "text": self._every(_TEXT_S, "texts", self._say),
            "interrupt": self._every(_INTERRUPT_S, "interrupts", self._interrupt),
            "gesture": self._every(_GESTURE_S, "gestures", self._gesture),
            "presenter": self._every(_CAST_S, "presenters", self._change),
            "pause": self._every(_PAUSE_S, "pauses", self._pause),
            "stall": self._every(_STALL_S, "stalls", self._stall),
        }
        tasks = [asyncio.create_task(work, name=name) for name, work in parts.items()]
        # In a file: kept here, they would be the only thing that grows.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
            try:
                await self._watch(lines, tasks, tell)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            lines.seek(0)
            return [json.loads(text) for text in lines]

    async def _watch(self, lines: IO[str], tasks: list[asyncio.Task[None]], tell: Tell) -> None:
        for number in range(1, _SAMPLES + 1):
            await asyncio.sleep(self._began + self._seconds * number / _SAMPLES - self._loop.time())
            for task in tasks:
                if task.done():
                    task.result()
            line = self._sample()
            lines.write(json.dumps(line) + "\n")
            what = f"{self._loop.time() / 3600:.2f} h, {line['own_mb']:.0f} MB"
            tell(self._loop.time() - self._began, self._seconds, what)

    def _sample(self) -> dict[str, Any]:
        gc.collect()
        picture, sound = self._receiver.take()
        line = {
            "at": self._loop.time() - self._began,
            **asdict(read_process(os.getpid())),
            "objects": len(gc.get_objects()),
            "tasks": len(asyncio.all_tasks()),
            "ticks": self._session.figures.ticks,
            "late_ticks": self._session.figures.late,
            "gaps": self._gaps,
            "spoken": self._spoken,
            "pictures": self._receiver.pictures,
            "sounds": self._receiver.sounds,
            "picture_delay_ms": None if picture is None else 1000 * picture,
            "sound_delay_ms": None if sound is None else 1000 * sound,
            "backlog_s": self._session.backlog_s,
            "mic_backlog_s": self._mic_backlog,
            "counts": dict(self._counts),
        }
        self._mic_backlog = 0.0
        return line

    def _see(self, slot: int, tick: Tick) -> None:
        self._gaps += tick.index != self._index + 1
        self._index = tick.index
        self._spoken += tick.speaking

    async def _microphone(self) -> None:
        """Speech in packets of 20 ms, by a clock that is not ours."""
        clip = np.concatenate([_clip(), np.zeros(2 * SAMPLE_RATE, np.float32)])
        presenter = self._session.part.presenter
        due = self._began
        for number in count():
            fast = self._loop.time() - self._began < self._seconds / 2
            due += _PACKET_S * (1 - _PPM if fast else 1 + _PPM)
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if self._paused:
                continue
            at = number * _PACKET % (clip.size - _PACKET)
            presenter.push(clip[at : at + _PACKET], live=True)
            if not self._session._speaker.busy and not self._session.playback.busy:
                self._mic_backlog = max(self._mic_backlog, presenter.backlog_s)

    async def _viewers(self) -> None:
        """One that comes for a minute and is away for a minute."""
        while True:
            await asyncio.sleep(_VIEW_S)
            guest = MediaClock(self._loop.time, self._began)
            attachment = self._session.encoders.attach(guest, video="h264", audio="opus")
            await asyncio.sleep(_VIEW_S)
            attachment.detach()
            self._counts["guests_served"] = self._counts.get("guests_served", 0) + (guest.pictures > 0)

    async def _every(self, period_s: float, what: str, do: Callable[[int], Any]) -> None:
        for number in count():
            await asyncio.sleep(period_s)
            await do(number)
            self._counts[what] = number + 1

    async def _say(self, number: int) -> None:
        self._session.speak(_TEXT.format(number), "en-us")

    async def _interrupt(self, number: int) -> None:
        await self._session.interrupt()

    async def _gesture(self, number: int) -> None:
        clips = self._session.part.role.clips
        self._session.casting.show(clips[number % len(clips)].name)

    async def _change(self, number: int) -> None:
        names = list_avatars()
        await self._session.casting.change(names[(number + 1) % len(names)])

    async def _pause(self, number: int) -> None:
        self._paused = number % 2 == 0

    async def _stall(self, number: int) -> None:
        self._loop.leap(_STALL_LASTS_S)


def _clip() -> Samples:
    return np.concatenate(
        [speak(f"This is sentence number {17 + 101 * k}.", "en-us").samples for k in range(8)]
    )


def simulated_figures(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures and verdicts of a simulated show's lines."""
    last = lines[-1]
    settled = lines[len(lines) // 6 :]
    due = round(last["at"] * FRAME_RATE)
    stalls = last["counts"].get("stalls", 0)
    skipped = due - last["ticks"]
    lines_of = {
        "picture against clock": "picture_delay_ms",
        "sound against clock": "sound_delay_ms",
    }
    drifts = [drift_verdict(name, drift_ms(*pairs(lines, named(key)))) for name, key in lines_of.items()]
    apart = max(abs(line["picture_delay_ms"] - line["sound_delay_ms"]) for line in lines)
    expected = round(stalls * _STALL_LASTS_S * FRAME_RATE)
    memory = {name: slope(*pairs(settled, named(name))) for name in ("own_mb", "objects")}
    worst = max(column(lines, "mic_backlog_s"))
    verdicts = [
        *drifts,
        Verdict("sound from picture, at worst", f"{apart:.3f} ms", "less than a tick", apart < 1000 * TICK_S),
        Verdict("ticks out of order", str(last["gaps"]), "0", last["gaps"] == 0),
        Verdict(
            "ticks skipped, besides the stalls",
            str(skipped - expected),
            f"{stalls + 1} more at most, {2 * stalls + 1} fewer: two may be late instead",
            -2 * stalls - 1 <= skipped - expected <= stalls + 1,
        ),
        Verdict(
            "microphone that waits, at most", f"{worst:.3f} s", f"{_MIC_BACKLOG_S} s", worst <= _MIC_BACKLOG_S
        ),
        memory_verdict("memory of its own", memory["own_mb"], last["at"] / 3600),
        count_verdict("Python objects", column(settled, "objects"), 200.0),
        count_verdict("descriptors", column(settled, "descriptors"), 0.0),
        count_verdict("threads", column(settled, "threads"), 0.0),
        count_verdict("tasks", column(settled, "tasks"), 1.0),
    ]
    return {
        "mode": "simulated",
        "seconds": last["at"],
        "ticks": last["ticks"],
        "speaking_ratio": round(last["spoken"] / max(1, last["ticks"]), 3),
        "pictures": last["pictures"],
        "events": last["counts"],
        "cpu_s": round(last["cpu_s"] - lines[0]["cpu_s"], 1),
        "mb_per_hour": told(memory["own_mb"]) if memory["own_mb"] else None,
        "objects_per_hour": told(memory["objects"], 1) if memory["objects"] else None,
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "samples": list(lines),
    }
