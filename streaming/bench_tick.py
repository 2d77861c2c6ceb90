"""`koubo bench tick`: what each step of a speaking tick costs, in processor time.

The steps are the functions that a session itself calls, timed where they stand. Time of the mouth is that of
all threads of the process, so one that is drawn by two counts twice what a clock on the wall shows; that of
the others is of the thread that calls them.
"""

import resource
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import cv2
import numpy as np

from engine.anchor.package import Avatar
from engine.errors import KouboError
from engine.live import LiveAvatar, Tick
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.label import LabelStyle
from engine.speech.audio import FRAME_RATE, SAMPLES_PER_TICK, Samples
from engine.speech.espeak import speak
from streaming.encoding.choose import SOFTWARE
from streaming.encoding.opus import OpusEncoder
from streaming.labels import labelled
from streaming.settings import Settings
from trt_build.flame import draw_flame, sampled

_TEXT = "Every tick of a presenter is forty milliseconds of picture and sound, and each has its price."
_WARM_UP_TICKS = 50
_MEMORY_TICKS = 100
_LABEL = LabelStyle()

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Probe:
    """A function that is timed as `step`, "paste/colour" being a part of "paste": `name`, with its class, in
    `module`.
    """

    step: str
    module: str
    name: str


PROBES = (
    Probe("speech", "engine.speech.buffer", "SpeechBuffer.voiced"),
    Probe("speech", "engine.speech.buffer", "SpeechBuffer.window"),
    Probe("speech", "engine.speech.buffer", "SpeechBuffer.advance"),
    Probe("clip", "engine.anchor.director", "Director.next"),
    Probe("paste", "engine.picture.paste", "Paster.paste"),
    Probe("paste/levels", "engine.picture.paste", "to_levels"),
    Probe("paste/colour", "engine.picture.colour", "ColourMatch.match"),
    Probe("paste/steady", "engine.picture.steady", "Steady.settle"),
    Probe("paste/change", "engine.picture.paste", "_changed"),
    Probe("paste/detail", "engine.picture.detail", "DetailCarrier.carry"),
    Probe("paste/detail/flow", "engine.picture.detail", "DetailCarrier._find"),
    Probe("paste/fill luma", "engine.picture.paste", "_fill"),
    Probe("paste/fill chroma", "engine.picture.paste", "_fill_chroma"),
    Probe("label", "streaming.bench_tick", "labelled"),
)
"""All but the mouth and the encoders, whose classes depend on what is installed."""

_ORDER = [
    *dict.fromkeys(("speech", "clip", "mouth", *(probe.step for probe in PROBES))),
    "picture encoding",
    "sound encoding",
]
_OF_MANY_THREADS = ("mouth", "picture encoding")


class Stopwatch:
    """Adds up the processor time of timed functions, each without that of timed functions within it."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._within = [0.0]

    def timed(self, step: str, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """`function`, timed as `step`."""
        clock = time.process_time if step in _OF_MANY_THREADS else time.thread_time

        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            self._within.append(0.0)
            began = clock()
            try:
                return function(*args, **kwargs)
            finally:
                spent = clock() - began
                own = spent - self._within.pop()
                self._within[-1] += spent
                self.spent[step] = self.spent.get(step, 0.0) + own

        return call

    @contextmanager
    def placed(self, places: Iterable[tuple[str, Any, str]]) -> Iterator[None]:
        """The functions and properties at (step, owner, name) are timed within the block."""
        former: list[tuple[Any, str, Any]] = []
        try:
            for step, owner, name in places:
                found = vars(owner)[name]
                former.append((owner, name, found))
                if isinstance(found, property) and found.fget is not None:
                    setattr(owner, name, property(self.timed(step, found.fget)))
                else:
                    setattr(owner, name, self.timed(step, found))
            yield
        finally:
            for owner, name, found in reversed(former):
                setattr(owner, name, found)


def places(probes: Sequence[Probe] = PROBES) -> list[tuple[str, Any, str]]:
    """(step, module or class, name of the function in it) of each probe."""
    found = []
    for probe in probes:
        owner: Any = import_module(probe.module)
        *classes, name = probe.name.split(".")
        for part in classes:
            owner = getattr(owner, part)
        found.append((probe.step, owner, name))
    return found


def _method(step: str, of: object, name: str) -> tuple[str, Any, str]:
    """Where the class of an object has its method."""
    return step, next(owner for owner in type(of).__mro__ if name in vars(owner)), name


class _Session:
    """What a session does in a tick, one after the other in this thread."""

    def __init__(
        self, avatar: Avatar, features: AnchorFeatures, mouth: MouthRuntime, speech: Samples
    ) -> None:
        kbps = Settings().video_bitrate_kbps
        self.what = f"{avatar.name}, {avatar.size[0]}x{avatar.size[1]}, {mouth.name} {mouth.precision}"
        self.mouth = mouth
        self._live = LiveAvatar(avatar, features, mouth)
        self._live.push(speech)
        self._live.finish()
        self.pictures = SOFTWARE.open("h264", avatar.size, kbps)
        self.sounds = OpusEncoder()
        self._kbps = kbps
        self._slot = 0

    def tick(self) -> Tick:
        """The next one, drawn, labelled and encoded."""
        tick = self._live.tick()
        shown = labelled(tick, _LABEL)
        self.pictures.encode(shown.picture, self._slot, self._kbps, keyframe=self._slot == 0)
        self.sounds.encode(tick.sound, self._slot)
        self._slot += 1
        return tick


def bench_tick(
    avatar: Avatar,
    mouth: MouthRuntime,
    seconds: float,
    flame: Path | None = None,
) -> dict[str, Any]:
    """Let `avatar` speak for `seconds` of its time as fast as it goes; one session, one tick after another.

    Returns {"avatar", "size", "runtime", "precision", "ticks", "tick": {"cpu_ms", "wall_ms"}, "steps": {step:
    {"cpu_ms", "share"}}, "memory": {"held_mb", "page_faults"}}: percentiles {"p50", "p95"} over the speaking
    ticks in which one clip is shown. A step such as "paste/colour" is part of "paste". `held_mb`: what
    Python and numpy hold at most within a tick above what they held before it, p50; `page_faults`: pages of
    4 KiB that the system hands out anew in a tick, by whatever library, p50. `flame`: the SVG of a flame
    graph, of a second round of the same. Raises KouboError.
    """
    ticks = round(seconds * FRAME_RATE)
    mouth = mouth.restricted(avatar.paste_region)  # as the server does
    features = AnchorFeatures(avatar, mouth)
    features.fill()
    for frame in range(avatar.frames):
        avatar.place(frame)  # made once, as features are: no part of a tick
    speech = _speech(_WARM_UP_TICKS + ticks)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as the server has it
    try:
        rows = _timed(_Session(avatar, features, mouth, speech), ticks)
        held = _held(_Session(avatar, features, mouth, speech))
        if flame is not None:
            _draw(_Session(avatar, features, mouth, speech), ticks, flame)
    finally:
        cv2.setNumThreads(threads)
    return {
        "avatar": avatar.name,
        "size": "x".join(map(str, avatar.size)),
        "runtime": mouth.name,
        "precision": mouth.precision,
        "ticks": len(rows),
        "tick": {
            "cpu_ms": _percentiles([row.cpu_s for row in rows]),
            "wall_ms": _percentiles([row.wall_s for row in rows]),
        },
        "steps": _steps(rows),
        "memory": {
            "held_mb": round(held, 3),
            "page_faults": round(float(np.median([row.page_faults for row in rows]))),
        },
    }


@dataclass(frozen=True, slots=True)
class _Row:
    """One speaking tick: its seconds, those of its steps without their parts, and pages that were fresh."""

    cpu_s: float
    wall_s: float
    steps: dict[str, float]
    page_faults: int


def _speech(ticks: int) -> Samples:
    return np.resize(speak(_TEXT, "en-us").samples, ticks * SAMPLES_PER_TICK)


def _timed(session: _Session, ticks: int) -> list[_Row]:
    """The speaking ticks with one clip in them. Raises KouboError where there is none."""
    watch = Stopwatch()
    objects = [
        _method("mouth", session.mouth, "decode"),
        _method("picture encoding", session.pictures, "encode"),
        _method("sound encoding", session.sounds, "encode"),
    ]
    rows = []
    with watch.placed([*places(), *objects]):
        for number in range(_WARM_UP_TICKS + ticks):
            watch.spent.clear()
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            wall, cpu = time.perf_counter(), time.process_time()
            tick = session.tick()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
            if number >= _WARM_UP_TICKS and tick.speaking and tick.other is None:
                rows.append(_Row(cpu, wall, dict(watch.spent), faults))
    if not rows:
        raise KouboError("Nobody spoke in this time; measure for longer.")
    return rows


def _held(session: _Session) -> float:
    """MiB that a speaking tick holds at most, by Python and numpy, above what was held before it; median."""
    peaks = []
    tracemalloc.start()
    try:
        for number in range(_MEMORY_TICKS):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            tick = session.tick()
            peak = tracemalloc.get_traced_memory()[1] - before
            if number >= _MEMORY_TICKS // 2 and tick.speaking and tick.other is None:
                peaks.append(peak)
    finally:
        tracemalloc.stop()
    return float(np.median(peaks)) / (1 << 20) if peaks else 0.0


def _draw(session: _Session, ticks: int, path: Path) -> None:
    """The flame graph of so many ticks."""
    for _ in range(_WARM_UP_TICKS):
        session.tick()
    with sampled(_Session.tick.__code__) as root:
        for _ in range(ticks):
            session.tick()
    root.name = f"{1000 * root.seconds / ticks:.1f} ms of processor time a tick"
    draw_flame(root, f"A tick of a presenter who speaks, {session.what}", path)


def _steps(rows: Sequence[_Row]) -> dict[str, Any]:
    """Processor time of each step with its parts, and its share of a tick; "other" is what no step has, and
    threads of inference that go on looking for work.
    """
    found = {}
    whole = sum(row.cpu_s for row in rows)
    names = dict.fromkeys(name for row in rows for name in row.steps)
    for name in sorted(names, key=_ORDER.index):
        found[name] = _step([_with_parts(row, name) for row in rows], whole)
    found["other"] = _step([row.cpu_s - sum(row.steps.values()) for row in rows], whole)
    return found


def _with_parts(row: _Row, name: str) -> float:
    return sum(spent for step, spent in row.steps.items() if step == name or step.startswith(f"{name}/"))


def _step(seconds: Sequence[float], whole: float) -> dict[str, Any]:
    return {"cpu_ms": _percentiles(seconds), "share": round(sum(seconds) / whole, 4)}


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    p50, p95 = 1000 * np.percentile(seconds, (50, 95))
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}
