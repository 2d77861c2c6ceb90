"""`koubo bench soak --real`: an hour of a live show, watched from outside: drift, memory, threads.

A real server in a process of its own; from this one, over real WebRTC, a viewer that stays, one that leaves
and comes back every minute, and a microphone; texts, interrupts, gestures, other presenters; a recording. The
figures are made of the lines that are written as it goes, so a run that was cut short can still be read.
"""

import asyncio
import contextlib
import json
import signal
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from http.client import HTTPException
from pathlib import Path
from typing import Any

import av
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from engine.errors import KouboError
from engine.speech.audio import SAMPLE_RATE, Samples
from engine.speech.espeak import speak
from streaming.bench_server import Server, running_server, server_command, until_ready
from streaming.bench_stamps import StampViewer
from streaming.bench_start import read_memory
from streaming.process_figures import need_proc, read_process
from streaming.soak_show import sample_period, soak_figures, span_of_recording
from streaming.webrtc.client import ClipTrack, publish
from streaming.webrtc.ending import close_connection

_TEXT_S, _INTERRUPT_S, _CLIP_S, _CAST_S = 20.0, 47.0, 33.0, 300.0
_STAY_S = _AWAY_S = 30.0
_SPEECH_S = 60.0
_TEXT = "Good evening, and welcome to the show. Tonight there is a great deal to talk about."
_RESERVE_MB = 512
_FINISH_S = 3.0

Tell = Callable[[float, float, str], None]
Write = Callable[[dict[str, Any]], None]


def measure_show(
    seconds: float, tell: Tell, write: Write, command: Callable[..., list[str]] = server_command
) -> dict[str, Any]:
    """Run a show of so many seconds; returns `soak_figures`, also when Ctrl-C or SIGTERM cuts it short.

    `tell` hears (seconds done, all, what), `write` each line. Raises KouboError when it cannot begin.
    """
    need_proc()
    lines: list[dict[str, Any]] = []

    def note(line: dict[str, Any]) -> None:
        lines.append(line)
        write(line)

    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_cancellable(_measure(seconds, tell, note, command)))
    return soak_figures(lines)


async def _cancellable(work: Awaitable[None]) -> None:
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


async def _measure(seconds: float, tell: Tell, note: Write, command: Callable[..., list[str]]) -> None:
    clip = await asyncio.to_thread(_microphone)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def start(port: int) -> list[str]:
            return command(port, recordings=str(folder), recordings_min_free_mb=_RESERVE_MB)

        server = await stack.enter_async_context(running_server(1, start))
        await until_ready(server)
        show = _Show(server, note)
        await show.open(stack, clip)
        note({"soak": 1, "seconds": seconds})
        show.began = asyncio.get_running_loop().time()
        works = (show.sample(seconds, tell), show.act(), show.come_and_go())
        tasks = [asyncio.create_task(work) for work in works]
        try:
            # The sampler ends it; another that ends does so by a fault, which is not hidden.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await show.end_recording(folder)
            with contextlib.suppress(KouboError, OSError, HTTPException):
                # A server that is told to stop lets its sessions speak to the end.
                await server.request("DELETE", show.path)


class _Show:
    """One session and everybody around it."""

    def __init__(self, server: Server, note: Write) -> None:
        self.path = ""
        self.began = 0.0
        self._server = server
        self._note = note
        self._whep = ""
        self._clock = asyncio.get_running_loop().time
        self._recording = ""

    async def open(self, stack: AsyncExitStack, clip: Samples) -> None:
        """The session, the viewer that stays, the microphone, the recording."""
        opened = json.loads(await self._server.request("POST", "/v1/sessions"))
        self.path, self._whep = f"/v1/sessions/{opened['id']}", opened["whep"]
        self.viewer = StampViewer()
        stack.push_async_callback(self.viewer.close)
        await self.viewer.connect(self._server.exchange(self._whep))
        sender = await publish(ClipTrack(clip), self._server.exchange(opened["whip"]))
        stack.push_async_callback(close_connection, sender)
        status = await self._status()
        self._clips = [clip["name"] for clip in status["clips"] if clip["kind"] in ("greeting", "gesture")]
        self._cast = [one["name"] for one in json.loads(await self._server.request("GET", "/v1/avatars"))]
        added = json.loads(await self._post("/outlets", {"url": "mp4:"}))
        self._recording = f"{self.path}/outlets/{added['id']}"

    async def sample(self, seconds: float, tell: Tell) -> None:
        """A line every few seconds until the show is over."""
        period = sample_period(seconds)
        while (at := self._clock() - self.began) < seconds:
            await asyncio.sleep(min(period - at % period, seconds - at))
            try:
                line = await self._sample()
            except (KouboError, OSError, HTTPException) as error:
                # A figure of this run, and its end only where there is no server any more.
                now = round(self._clock() - self.began, 3)
                self._note({"event": "sample", "at": now, "seconds": 0.0, "fault": f"{error!r}"})
                if self._server.process.poll() is not None:
                    return
                continue
            self._note(line)
            what = f"{line['own_mb']:.0f} MB, p99 {line['lateness_ms']['p99']:.0f} ms late"
            tell(min(line["at"], seconds), seconds, what)

    async def _sample(self) -> dict[str, Any]:
        pid = self._server.process.pid
        held = read_process(pid)
        status, metrics = await self._status(), await self._server.request("GET", "/metrics")
        outlet = json.loads(await self._server.request("GET", self._recording))
        memory = await asyncio.to_thread(read_memory, pid)
        delays = self.viewer.pictures.least_delay(), self.viewer.sounds.least_delay()
        return {
            "at": round(self._clock() - self.began, 3),
            **asdict(held),
            "pss_mb": memory and round(memory.pss, 3),
            "ticks": status["ticks"],
            "late_ticks": status["late_ticks"],
            "lateness_ms": status["tick_lateness_ms"],
            "uptime_s": status["uptime_s"],
            "backlog_ms": status["backlog_ms"],
            "skipped": _counted(metrics, "koubo_skipped_ticks_total"),
            "unencoded": _counted(metrics, "koubo_unencoded_pictures_total"),
            "picture_delay_ms": _ms(delays[0]),
            "sound_delay_ms": _ms(delays[1]),
            "pictures": self.viewer.pictures.count,
            "sounds": self.viewer.sounds.count,
            "viewers": status["viewers"],
            "recording": outlet["state"],
        }

    async def act(self) -> None:
        """Texts, interrupts, gestures and other presenters, each in its own rhythm."""
        await asyncio.gather(
            self._every(_TEXT_S, "text", self._say),
            self._every(_INTERRUPT_S, "interrupt", self._interrupt),
            self._every(_CLIP_S, "gesture", self._gesture),
            self._every(_CAST_S, "presenter", self._change),
        )

    async def _say(self, number: int) -> str:
        return await self._post("/speak", {"text": f"{_TEXT} This is part {number}."})

    async def _interrupt(self, number: int) -> str:
        return await self._post("/interrupt")

    async def _gesture(self, number: int) -> str:
        if not self._clips:
            return ""
        return await self._post("/clips", {"clip": self._clips[number % len(self._clips)]})

    async def _change(self, number: int) -> str:
        if len(self._cast) < 2:
            return ""
        body = json.dumps({"avatar": self._cast[(number + 1) % len(self._cast)]})
        return await self._server.request("PATCH", self.path, body, "application/json")

    async def _every(self, period_s: float, what: str, do: Callable[[int], Awaitable[str]]) -> None:
        number = 0
        while True:
            await asyncio.sleep(period_s)
            await self._try(what, do(number))
            number += 1

    async def come_and_go(self) -> None:
        """A viewer that stays half a minute and is away for half a minute."""
        while True:
            await asyncio.sleep(_AWAY_S)
            viewer = StampViewer()
            try:
                await self._try("join", viewer.connect(self._server.exchange(self._whep)))
                await asyncio.sleep(_STAY_S)
            finally:
                await viewer.close()

    async def _try(self, what: str, work: Awaitable[Any]) -> None:
        """Do something and note it; what the server refuses is a figure of this run, not its end."""
        began = self._clock()
        line: dict[str, Any] = {"event": what, "at": round(began - self.began, 3)}
        try:
            await work
        except (KouboError, OSError, HTTPException) as error:
            line["fault"] = str(error) or repr(error)
        line["seconds"] = round(self._clock() - began, 3)
        self._note(line)

    async def end_recording(self, folder: Path) -> None:
        """Remove the outlet and look at what it wrote."""
        with contextlib.suppress(KouboError, OSError, HTTPException):
            await self._server.request("DELETE", self._recording)
        if self._server.process.poll() is not None:
            await asyncio.sleep(
                _FINISH_S
            )  # Ctrl-C ended it, too: what muxes the recording finishes by itself
        for path in await asyncio.to_thread(lambda: sorted(folder.glob("*.mp4"))):
            try:
                span = await asyncio.to_thread(span_of_recording, path)
            except av.FFmpegError as error:
                self._note({"event": "recording", "at": 0.0, "seconds": 0.0, "fault": f"{error!r}"})
                continue
            self._note({"file": path.name} | span)

    async def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(await self._server.request("GET", self.path))
        return status

    async def _post(self, where: str, body: dict[str, str] | None = None) -> str:
        text, kind = (json.dumps(body), "application/json") if body else (None, "")
        return await self._server.request("POST", f"{self.path}{where}", text, kind)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)


def _counted(text: str, name: str) -> float:
    """A counter of the Prometheus text, over all its labels."""
    families = text_string_to_metric_families(text)
    return sum(one.value for family in families for one in family.samples if one.name == name)


def _microphone() -> Samples:
    """A minute of somebody who speaks for some seconds and is silent for some seconds."""
    parts: list[Samples] = []
    while sum(part.size for part in parts) < _SPEECH_S * SAMPLE_RATE:
        parts.append(speak(f"This is sentence number {101 * len(parts) + 17}.", "en-us").samples)
        if len(parts) % 3 == 2:
            parts.append(np.zeros(6 * SAMPLE_RATE, np.float32))
    return np.concatenate(parts)[: int(_SPEECH_S * SAMPLE_RATE)]
