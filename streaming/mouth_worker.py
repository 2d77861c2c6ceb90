"""Draws mouths for `streaming.mouth_process`: `python -m streaming.mouth_worker ORDER`.

The order is JSON: the mouth's folder, the runtime, and the descriptors of the sockets that it was given. Any
fault in a call ends the whole process, as a fault in native code would; it is started anew. It ends, too,
when its server does, and where memory runs out, it goes first.
"""

import json
import mmap
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

from engine.errors import KouboError
from engine.mouth.region import Region
from engine.mouth.runtime import MouthRuntime
from streaming.mouth_lane import DONE, ENCODE, REQUEST, Facts, Lines, Tray

Open = Callable[[Path, str], tuple[MouthRuntime, str]]
"""(folder, runtime) -> the mouth, and a sentence about what was chosen and why."""

View: TypeAlias = tuple[MouthRuntime, Facts]

_OOM_SCORE = Path("/proc/self/oom_score_adj")


def main(open_mouth: Open) -> None:
    """Open the mouth, tell of it, and draw until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the server
    with suppress(OSError):
        _OOM_SCORE.write_text("500")
    threading.excepthook = _end_all
    order = json.loads(sys.argv[1])
    control = socket.socket(fileno=order["control"])
    lines = Lines(control)
    try:
        mouth, sentence = open_mouth(Path(order["folder"]), order["runtime"])
        facts = _facts(mouth)
    except KouboError as error:
        lines.send(json.dumps({"error": str(error)}))
        return
    lines.send(json.dumps({"sentence": sentence, "facts": asdict(facts)}))
    _, files, _, _ = socket.recv_fds(control, 1, 1)
    memory = mmap.mmap(files[0], 0)
    views = [(mouth, facts)]
    for number, lane in enumerate(order["lanes"]):
        work = socket.socket(fileno=lane), views, memory, number * Tray.nbytes(facts)
        threading.Thread(target=_serve, args=work, daemon=True).start()
    _obey(lines, views)


def _obey(lines: Lines, views: list[View]) -> None:
    """Restrict mouths as ordered, until the server is gone."""
    while True:
        try:
            order = json.loads(lines.receive())
        except EOFError:
            return
        mouth = views[order["of"]][0].restricted(Region(**order["region"]))
        facts = _facts(mouth)
        views.append((mouth, facts))
        lines.send(json.dumps({"facts": asdict(facts)}))


def _serve(lane: socket.socket, views: list[View], memory: mmap.mmap, start: int) -> None:
    """One call after another, until the server is gone."""
    trays: dict[int, Tray] = {}
    while len(request := lane.recv(REQUEST.size, socket.MSG_WAITALL)) == REQUEST.size:
        operation, number, count = REQUEST.unpack(request)
        mouth, facts = views[number]
        tray = trays.get(number) or trays.setdefault(number, Tray(memory, start, facts))
        if operation == ENCODE:
            tray.put_features(mouth.encode(tray.pictures[:count]))
        else:
            tray.pictures[:count] = mouth.decode(tray.mels[:count], tray.features(count))
        lane.sendall(DONE)


def _facts(mouth: MouthRuntime) -> Facts:
    facts = Facts.of(mouth)
    if facts is None:
        raise KouboError(
            f"The mouth runs on {mouth.name}, which keeps features in its own memory; "
            "set KOUBO_RUNTIME=openvino or KOUBO_MOUTH_PROCESS=false."
        )
    return facts


def _end_all(fault: threading.ExceptHookArgs) -> None:
    """A fault in one lane: nobody can say what else is broken now."""
    traceback.print_exception(fault.exc_type, fault.exc_value, fault.exc_traceback)
    sys.stderr.flush()
    os._exit(1)


def _open(folder: Path, runtime: str) -> tuple[MouthRuntime, str]:
    from engine.mouth.choose import choose

    choice = choose(folder, runtime)
    return choice.runtime, choice.sentence


if __name__ == "__main__":
    main(_open)
