"""MouthRuntime in a process of its own: a crash in native code, or the out-of-memory killer, costs the lips
of a moment and no session.
"""

import contextlib
import json
import logging
import mmap
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from engine.anchor.crop import Picture
from engine.errors import KouboError
from engine.mouth.region import Region
from engine.mouth.runtime import Features
from engine.speech.mel import Mel
from streaming.mouth_lane import DECODE, ENCODE, FACES, REQUEST, Facts, Lines, Tray
from streaming.worker_process import python_path

WORKER = (sys.executable, "-m", "streaming.mouth_worker")

START_S = 60.0
"""A process that has not opened its mouth by then is given up."""

ANSWER_S = 1.0
"""A call takes milliseconds; one that takes this long hangs, and with it its process."""

_REVIVAL_S = 10.0
"""Who prepares features waits this long for a process that is being started anew; who draws does not wait."""

_REST_S, _LONGEST_REST_S = 0.25, 10.0
"""Before a process is started anew that did not live long; doubled each time, up to the longest."""

_SOUND_S = 30.0
"""A process that lived this long was sound, and is started anew at once."""

logger = logging.getLogger(__name__)

Order: TypeAlias = tuple[int, Region]
"""Restrict the view of this number to a region."""


class MouthLost(KouboError):
    """The process that draws has ended, or hangs; it is started anew by itself."""


class RemoteMouth:
    """A mouth, or a restriction of one, that another process draws.

    `decode` and `encode` may be called from several threads, each of which takes a lane; further ones wait
    for one. `decode` raises MouthLost at once while there is no process.
    """

    def __init__(self, owner: "_Owner", number: int, facts: Facts) -> None:
        self._owner = owner
        self._process = owner.process
        self._number = number
        self._facts = facts
        self.name = facts.name
        self.precision = facts.precision
        self.size = facts.size
        self.region = facts.region
        self.maps_key: str | None = facts.maps_key

    @property
    def pid(self) -> int | None:
        """Of the process that draws; None while there is none."""
        return self._process.pid

    def restricted(self, region: Region) -> "RemoteMouth":
        """The same networks, drawing at least `region`. Raises MouthLost."""
        number, facts = self._process.restrict((self._number, region))
        return RemoteMouth(self._owner, number, facts)

    def encode(self, faces: Picture) -> list[Features]:
        """The features of idle faces, RGB uint8 (n, S, S, 3). Waits a while for a lost process; MouthLost."""
        features: list[Features] = []
        for start in range(0, len(faces), FACES):
            some = faces[start : start + FACES]
            try:
                features += self._encode(some)
            except MouthLost:
                features += self._encode(some)
        return features

    def _encode(self, faces: Picture) -> list[Features]:
        with self._process.lane(_REVIVAL_S) as lane:
            tray = lane.tray(self._number, self._facts)
            tray.pictures[: len(faces)] = faces
            lane.call(ENCODE, self._number, len(faces))
            return [tuple(np.copy(map_) for map_ in maps) for maps in tray.features(len(faces))]

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """Faces that speak: mel windows float32 (n, 80, 16) on n faces -> RGB uint8 (n, S, S, 3).

        Raises MouthLost.
        """
        if len(mels) != len(features):
            raise ValueError(f"{len(mels)} mel windows for {len(features)} faces")
        pictures = np.empty((len(mels), self.size, self.size, 3), np.uint8)
        for start in range(0, len(mels), FACES):
            some = mels[start : start + FACES]
            with self._process.lane() as lane:
                tray = lane.tray(self._number, self._facts)
                tray.mels[: len(some)] = some
                tray.put_features(features[start : start + FACES])
                lane.call(DECODE, self._number, len(some))
                pictures[start : start + FACES] = tray.pictures[: len(some)]
        return pictures


def open_remote(
    folder: Path,
    runtime: str,
    *,
    lanes: int | None = None,
    command: Sequence[str] = WORKER,
    answer_s: float = ANSWER_S,
) -> tuple[RemoteMouth, str]:
    """The mouth in a folder, drawn by a process of its own, and what was chosen to draw it and why.

    `lanes` calls at a time, None: one a core. A call that takes `answer_s` seconds is given up, and its
    process with it. The process ends when no view of the mouth is used any more. Raises KouboError when it
    cannot be opened.
    """
    if not hasattr(socket, "send_fds"):
        raise KouboError("A mouth's own process needs Linux or macOS; leave KOUBO_MOUTH_PROCESS unset here.")
    order = {"folder": str(folder.absolute()), "runtime": runtime}
    process = _Process(command, order, lanes or os.cpu_count() or 1, answer_s)
    return RemoteMouth(_Owner(process), 0, process.facts[0]), process.sentence


class _Owner:
    """What all views hold; the process ends with it."""

    def __init__(self, process: "_Process") -> None:
        self.process = process
        weakref.finalize(self, process.close)


class _Lane:
    """One call at a time to one process."""

    def __init__(self, end: socket.socket, memory: mmap.mmap, start: int) -> None:
        self._end = end
        self._memory = memory
        self._start = start
        self._trays: dict[int, Tray] = {}
        self.fault = ""

    def tray(self, number: int, facts: Facts) -> Tray:
        """Where arguments and answers of a view lie."""
        tray = self._trays.get(number)
        if tray is None:
            tray = self._trays[number] = Tray(self._memory, self._start, facts)
        return tray

    def call(self, operation: bytes, number: int, count: int) -> None:
        """Have the process work on what lies in the tray. Raises MouthLost."""
        try:
            self._end.sendall(REQUEST.pack(operation, number, count))
            self.fault = "" if self._end.recv(1) else "has ended"
        except TimeoutError:
            self.fault = "does not answer"
        except OSError:
            self.fault = "has ended"
        if self.fault:
            raise MouthLost(f"The process that draws the mouth {self.fault}; it is started anew.")


class _Run:
    """One life of the process: it is started, and its mouth opened, when this is made."""

    def __init__(self, command: Sequence[str], order: dict[str, Any], lanes: int, answer_s: float) -> None:
        """Raises KouboError with the process's sentence, or with how it ended."""
        self.free: queue.LifoQueue[_Lane | None] = queue.LifoQueue()
        self.began = time.monotonic()
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as failed:
            failed.callback(self.end)
            control, *ends = self._start(command, order, lanes)
            control.settimeout(START_S)
            self._lines = Lines(control)
            opened = self._hear()
            self.sentence = str(opened["sentence"])
            self.facts = Facts.read(opened["facts"])
            nbytes = Tray.nbytes(self.facts)
            with _shared_file(lanes * nbytes) as file:
                memory = mmap.mmap(file.fileno(), 0)
                socket.send_fds(control, [b"m"], [file.fileno()])
            for number, end in enumerate(ends):
                end.settimeout(answer_s)
                self.free.put(_Lane(end, memory, number * nbytes))
            failed.pop_all()

    def _start(self, command: Sequence[str], order: dict[str, Any], lanes: int) -> list[socket.socket]:
        with contextlib.ExitStack() as given:
            pairs = [socket.socketpair() for _ in range(lanes + 1)]
            for ours, theirs in pairs:
                self._undo.enter_context(ours)
                given.enter_context(theirs)  # closed here, or its end would never be read
            numbers = [theirs.fileno() for _, theirs in pairs]
            told = order | {"control": numbers[0], "lanes": numbers[1:]}
            self.process = subprocess.Popen(
                [*command, json.dumps(told)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=numbers,
                env={**os.environ, "PYTHONPATH": python_path()},
            )
            self._undo.callback(self.process.wait)
            self._undo.callback(self.process.kill)
        return [ours for ours, _ in pairs]

    def restrict(self, order: Order) -> Facts:
        """Make the next view. Raises KouboError."""
        of, region = order
        with contextlib.suppress(OSError):  # read below, as its end
            self._lines.send(json.dumps({"of": of, "region": asdict(region)}))
        return Facts.read(self._hear()["facts"])

    def end(self) -> None:
        """Kill it; whoever waits for a lane or an answer gets MouthLost."""
        self._undo.close()
        self.free.put(None)

    def _hear(self) -> dict[str, Any]:
        try:
            told: dict[str, Any] = json.loads(self._lines.receive())
        except (OSError, EOFError) as error:
            how = f"did nothing for {START_S:.0f} s" if isinstance(error, TimeoutError) else "ended"
            raise MouthLost(f"The process that draws the mouth {how} while it was opened.") from error
        if "error" in told:
            raise KouboError(str(told["error"]))
        return told


class _Process:
    """Keeps a process running: one life after another, with the same views, until `close`."""

    def __init__(self, command: Sequence[str], order: dict[str, Any], lanes: int, answer_s: float) -> None:
        self._command = command
        self._order = order
        self._lanes = lanes
        self._answer_s = answer_s
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._restricting = threading.Lock()
        self._orders: list[Order] = []
        run = _Run(command, order, lanes, answer_s)
        self._run: _Run | None = run
        self.sentence = run.sentence
        self.facts = [run.facts]
        threading.Thread(target=self._keep, args=(run,), name="mouth-process", daemon=True).start()

    @property
    def pid(self) -> int | None:
        run = self._run
        return run.process.pid if run else None

    def close(self) -> None:
        """End it for good."""
        self._closing.set()
        with self._changed:
            run, self._run = self._run, None
            self._changed.notify_all()
        if run is not None:
            run.process.kill()

    @contextlib.contextmanager
    def lane(self, patience_s: float = 0.0) -> Iterator[_Lane]:
        """A lane to use alone; waits so long for a process, and then for a lane. Raises MouthLost."""
        run = self._wait(patience_s)
        try:
            lane = run.free.get(timeout=self._answer_s)
        except queue.Empty:
            raise MouthLost("The process that draws the mouth is at other pictures.") from None
        if lane is None:
            run.free.put(None)
            raise MouthLost("The process that draws the mouth has ended; it is started anew.")
        try:
            yield lane
        finally:
            if lane.fault:
                self._give_up(run)
            else:
                run.free.put(lane)

    def restrict(self, order: Order) -> tuple[int, Facts]:
        """The number and the facts of a view; alike orders get the same one. Raises KouboError."""
        with self._restricting:
            if order not in self._orders:
                facts = self._wait(_REVIVAL_S).restrict(order)
                self._orders.append(order)
                self.facts.append(facts)
            number = 1 + self._orders.index(order)
            return number, self.facts[number]

    def _wait(self, patience_s: float) -> _Run:
        with self._changed:
            self._changed.wait_for(lambda: self._run or self._closing.is_set(), patience_s)
            if self._run is None:
                raise MouthLost("The process that draws the mouth has ended; it is started anew.")
            return self._run

    def _give_up(self, run: _Run) -> None:
        with self._changed:
            if self._run is run:
                self._run = None
        run.process.kill()  # it may hang

    def _keep(self, run: _Run) -> None:
        """Notice each end, and start anew; in a thread of its own."""
        rest_s = 0.0
        while True:
            status = run.process.wait()
            self._give_up(run)
            run.end()
            if self._closing.is_set():
                return
            logger.error("the process that draws the mouth ended (status %s); it is started anew", status)
            if time.monotonic() - run.began > _SOUND_S:
                rest_s = 0.0
            while not self._closing.wait(rest_s):
                rest_s = min(_LONGEST_REST_S, 2 * rest_s or _REST_S)
                try:
                    run = self._again()
                except KouboError as error:
                    logger.error("the mouth's process cannot be started: %s", error)  # noqa: TRY400
                else:
                    break
            else:
                return

    def _again(self) -> _Run:
        """Another life with the same views. Raises KouboError when it would not read features made before."""
        began = time.monotonic()
        with self._restricting:
            run = _Run(self._command, self._order, self._lanes, self._answer_s)
            with contextlib.ExitStack() as failed:
                failed.callback(run.end)
                facts = [run.facts, *(run.restrict(order) for order in self._orders)]
                if facts != self.facts:
                    raise KouboError("The mouth is another one now; open its avatar again.")
                failed.pop_all()
            with self._changed:
                self._run = run
                self._changed.notify_all()
        if self._closing.is_set():
            run.process.kill()
        logger.info("the mouth is drawn again, after %.2f s", time.monotonic() - began)
        return run


def _shared_file(nbytes: int) -> IO[bytes]:
    """A file of zeros in memory, without a name."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("koubo-mouth"), "r+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115
    file.truncate(nbytes)
    return file
