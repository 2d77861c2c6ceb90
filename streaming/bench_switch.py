"""`koubo bench switch`: how soon another presenter is seen in a live session, and what it costs.

A real server in a process of its own and a real WHEP viewer on loopback, while a text is spoken. Presenters
are installed ones and one more, made of the first: in portrait, with a mouth of its own, so that all there is
to a change is in it. A picture is of the presenter to whose anchor it is most alike; another has come with
the first picture that is most alike to it. A change is cold when the server has never shown that presenter.
"""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import cycle, islice, pairwise, repeat
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from engine.anchor.card import MATTE, write_card
from engine.anchor.package import Avatar, find_avatar, list_avatars
from engine.errors import KouboError
from engine.mouth.sheet import MOUTH_SHEET
from engine.picture.fit import Fit, Size
from engine.picture.video import VideoWriter
from engine.picture.yuv import Frame, planes
from streaming.bench_server import Server, running_server, server_command, until_ready
from streaming.pacing import percentiles
from streaming.webrtc.client import Watcher

PORTRAIT = "bench-portrait"
"""Name of the presenter that is made for the measure."""

_TEXT = "Good evening, and welcome to the show. Tonight there is a great deal to talk about. " * 20
_TEXTS = 4
_JSON = "application/json"
_SETTLE_S = 1.5
"""Before each change; the next may come while background work of the last one goes on."""
_WAIT_S = 20.0
_THUMB = 32
_STRIDE = 5
"""Every so manieth anchor frame stands for all: presenters differ more than their frames."""

Thumb = NDArray[np.float32]


@dataclass(slots=True)
class Sight:
    """What a viewer saw: for each picture when it arrived, in seconds, and whose it was."""

    times: list[float] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def first(self, name: str, since: float) -> float | None:
        """When the first picture of a presenter arrived after `since`."""
        pairs = zip(self.times, self.names, strict=True)
        return next((time for time, seen in pairs if time >= since and seen == name), None)

    def longest_gap(self, since: float) -> float:
        """The longest time between two pictures after `since`."""
        times = [time for time in self.times if time >= since]
        return max((after - before for before, after in pairwise(times)), default=0.0)


class Faces:
    """Tells presenters apart in I420 pictures of one size, by small copies of their anchors."""

    def __init__(self, anchors: Mapping[str, Sequence[Frame]]) -> None:
        self._thumbs = {
            name: np.stack([_thumb(frame) for frame in frames]) for name, frames in anchors.items()
        }

    def name(self, picture: Frame) -> str:
        """Of the presenter that a picture is most alike to."""
        thumb = _thumb(picture)
        return min(
            self._thumbs, key=lambda name: float(np.abs(self._thumbs[name] - thumb).mean(axis=(1, 2)).min())
        )


def bench_switch(
    switches: int,
    starts: int,
    names: Sequence[str] = (),
    command: Callable[[int], list[str]] = server_command,
) -> dict[str, Any]:
    """Measure the first change to each presenter in `starts` servers, and `switches` more in the last one.

    `names`: presenters to change between, all that are installed when empty; `command(port)` starts a server.
    Returns {"presenters", "cold_ms", "warm_ms" (percentiles {"p50", "p95", "p99"} from the sending of the
    request to the arrival of the first picture), "cold", "warm" (how many), "by_presenter": {name:
    {"cold_ms", "warm_ms"}}, "late_ticks", "ticks", "longest_gap_ms" (between two pictures at the viewer),
    "viewers_lost"}. Raises KouboError when a server does not start, or a presenter does not come.
    """
    chosen = list(names) or list_avatars()
    if not chosen:
        raise KouboError("No avatar is installed; make one with `koubo avatar create`, or set KOUBO_AVATARS.")
    return asyncio.run(_bench(switches, starts, chosen, command))


async def _bench(
    switches: int, starts: int, names: Sequence[str], command: Callable[[int], list[str]]
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as made:
        avatars = [Avatar.load(find_avatar(name)) for name in names]
        make_portrait(avatars[0], Path(made) / PORTRAIT)
        avatars.append(Avatar.load(Path(made) / PORTRAIT))
        faces = Faces(
            dict(zip([*names, PORTRAIT], map(_fitted, avatars, repeat(avatars[0].size)), strict=True))
        )
        roots = os.pathsep.join(filter(None, (os.environ.get("KOUBO_AVATARS"), made)))
        runs: list[_Run] = []
        for number in range(starts):
            async with running_server(1, command, {"KOUBO_AVATARS": roots}) as server:
                last = number == starts - 1
                runs.append(await _measure(server, [*names, PORTRAIT], faces, switches if last else 0))
    return _figures(runs)


@dataclass(slots=True)
class _Run:
    """Of one server: seconds by (name, whether it was cold), and what else happened meanwhile."""

    delays: list[tuple[str, bool, float]] = field(default_factory=list)
    ticks: int = 0
    late_ticks: int = 0
    longest_gap: float = 0.0
    viewers_lost: int = 0


def _figures(runs: Sequence[_Run]) -> dict[str, Any]:
    delays = [delay for run in runs for delay in run.delays]
    names = sorted({name for name, _, _ in delays})

    def found(cold: bool, name: str | None = None) -> list[float]:
        return [1000 * delay for who, how, delay in delays if how is cold and name in (None, who)]

    return {
        "presenters": names,
        "cold": len(found(True)),
        "cold_ms": percentiles(found(True)),
        "warm": len(found(False)),
        "warm_ms": percentiles(found(False)),
        "by_presenter": {
            name: {"cold_ms": percentiles(found(True, name)), "warm_ms": percentiles(found(False, name))}
            for name in names
        },
        "ticks": sum(run.ticks for run in runs),
        "late_ticks": sum(run.late_ticks for run in runs),
        "longest_gap_ms": round(1000 * max(run.longest_gap for run in runs), 1),
        "viewers_lost": sum(run.viewers_lost for run in runs),
    }


async def _measure(server: Server, names: Sequence[str], faces: Faces, switches: int) -> _Run:
    first, *others = names
    await until_ready(server)
    opened = json.loads(await server.request("POST", "/v1/sessions", json.dumps({"avatar": first}), _JSON))
    path = f"/v1/sessions/{opened['id']}"
    run = _Run()
    async with aclosing(_Viewer(faces)) as viewer:
        await viewer.connect(server, opened["whep"])
        await viewer.until(first, 0.0)
        for _ in range(_TEXTS):
            await server.request("POST", f"{path}/speak", json.dumps({"text": _TEXT}), _JSON)
        since = viewer.clock()
        before = json.loads(await server.request("GET", path))
        for number, name in enumerate((*others, *islice(cycle(names), switches))):
            await asyncio.sleep(_SETTLE_S)
            asked = viewer.clock()
            change = server.request("PATCH", path, json.dumps({"avatar": name}), _JSON)
            _, come = await asyncio.gather(change, viewer.until(name, asked))
            run.delays.append((name, number < len(others), come - asked))
        after = json.loads(await server.request("GET", path))
        run.ticks = after["ticks"] - before["ticks"]
        run.late_ticks = after["late_ticks"] - before["late_ticks"]
        run.viewers_lost = before["viewers"] - after["viewers"]
        run.longest_gap = viewer.sight.longest_gap(since)
    await server.request("DELETE", path)
    return run


class _Viewer:
    """A WHEP viewer that notes whom it sees."""

    def __init__(self, faces: Faces) -> None:
        self.sight = Sight()
        self.clock = asyncio.get_running_loop().time
        self._faces = faces
        self._watcher = Watcher()
        self._came = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, server: Server, path: str) -> None:
        await self._watcher.connect(server.exchange(path))
        self._tasks.append(asyncio.create_task(self._take()))

    async def until(self, name: str, since: float) -> float:
        """When the first picture of a presenter arrived after `since`."""
        try:
            async with asyncio.timeout(_WAIT_S):
                while (found := self.sight.first(name, since)) is None:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError as error:
            raise KouboError(f"{name} did not come within {_WAIT_S:g} s; check the server's log.") from error
        return found

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._watcher.close()

    async def _take(self) -> None:
        while True:
            try:
                frame = await self._watcher.pictures.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, av.VideoFrame)
            picture = np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8)
            self.sight.times.append(self._watcher.arrival(frame))
            self.sight.names.append(self._faces.name(picture))
            self._came.set()


def make_portrait(original: Avatar, package: Path) -> None:
    """A package of an avatar's idle clip at 3/4 of its height and half of its width, with its own mouth."""
    width, height = original.size
    fit = Fit(original.size, (width // 4 * 2, height * 3 // 8 * 2))
    card = original.card
    idle = replace(card.idle, crops=tuple(map(fit.crop, card.idle.crops)))
    shutil.copytree(original.mouth, package / "mouth")
    sheet = package / "mouth" / MOUTH_SHEET
    sheet.write_text(sheet.read_text() + "\n")  # a copy would be known by its content, and shared
    backdrop = fit.backdrop(original.frame(0))
    with VideoWriter(package / idle.file, fit.canvas) as video:
        for index in range(idle.frames):
            video.write(fit.frame(original.frame(index), backdrop))
    if original.mattes:
        with VideoWriter(package / MATTE, fit.canvas) as video:
            for index in range(idle.frames):
                video.write(_grey(fit.plane(original.mattes[index])))
    write_card(package, replace(card, name=package.name, size=fit.canvas, clips=(idle,), mouth="mouth"))


def _grey(matte: NDArray[np.uint8]) -> Frame:
    frame = np.full((len(matte) * 3 // 2, matte.shape[1]), 128, np.uint8)
    frame[: len(matte)] = 16 + matte.astype(np.uint16) * 219 // 255
    return frame


def _fitted(avatar: Avatar, canvas: Size) -> list[Frame]:
    """Some of its frames, as a session with that canvas shows them."""
    fit = Fit(avatar.size, canvas)
    backdrop = fit.backdrop(avatar.frame(0))
    return [fit.frame(avatar.frame(index), backdrop) for index in range(0, avatar.frames, _STRIDE)]


def _thumb(frame: Frame) -> Thumb:
    luma = planes(frame)[0]
    small: Thumb = cv2.resize(luma, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
    return small
