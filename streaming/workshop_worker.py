"""Makes one presenter of one video in a process of its own: `python -m streaming.workshop_worker`.

The order is one line of JSON on standard input, progress and result are lines of JSON on standard output
(`streaming.worker_process.Told`). It steps back behind everything else on the machine, and ends when its
standard input does: nobody would fetch what it makes.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.anchor.checks import Finding
    from engine.anchor.survey import Tell

Report = Callable[..., None]
"""Writes one line, the fields of `Told`."""

_MOUTH = "lite192"
_AUTOGROUP = Path("/proc/self/autogroup")
"""Where Linux groups processes by session, the niceness of this one's (sched(7))."""

_TELL_S = 0.2
"""Least time between two reports of the same step."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Read the order, carry it out, report."""
    output = _keep_stdout_to_ourselves()
    _step_back()
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()

    def report(**told: object) -> None:
        output.write(json.dumps(told, ensure_ascii=False, default=float) + "\n")
        output.flush()

    carry_out(order, report)


def carry_out(order: Mapping[str, Any], report: Report) -> None:
    """Do what is ordered; what people can mend, in the footage or on the server, is reported, not raised."""
    import cv2

    from engine.errors import FootageError, KouboError, MissingToolError

    cv2.setNumThreads(1)
    try:
        findings = _WORK[order["do"]](order, report)
    except FootageError as error:
        report(error=str(error), findings=[asdict(finding) for finding in error.findings])
    except MissingToolError as error:
        report(error=f"This server cannot make presenters yet: {error}")
    except KouboError as error:
        report(error=str(error))
    except OSError as error:
        report(error=f"The presenter cannot be written ({(error.strerror or str(error)).lower()}).")
    else:
        report(finished=True, findings=[asdict(finding) for finding in findings])


def _create(order: Mapping[str, Any], report: Report) -> Sequence["Finding"]:
    """Footage to an avatar, with a picture of the one and a contact sheet of the other."""
    from engine.anchor.card import Consent
    from engine.anchor.create import Order, create
    from engine.anchor.package import shipped_mouth

    video = Path(order["video"])
    tell = throttled(lambda step, done, total: report(step=step, done=done, total=total))
    _save_preview(video, Path(order["preview"]))
    wanted = Order(
        video=video,
        name=order["name"],
        output=Path(order["output"]),
        mouth=shipped_mouth(_MOUTH),
        consent=Consent(**order["consent"]),
        title=order["title"],
    )
    created = create(wanted, tell)
    _draw_sheet(created.folder, Path(order["sheet"]), tell)
    return created.findings


def _sheet(order: Mapping[str, Any], report: Report) -> Sequence["Finding"]:
    """The contact sheet of an avatar."""
    _draw_sheet(Path(order["avatar"]), Path(order["sheet"]))
    return ()


def _import(order: Mapping[str, Any], report: Report) -> Sequence["Finding"]:
    """An exported avatar, checked and unpacked into a folder of its own."""
    from engine.anchor.archive import import_avatar

    # What it is called is not known yet; who ordered it puts it in place.
    os.environ["KOUBO_AVATARS"] = order["output"]
    import_avatar(Path(order["archive"]))
    return ()


_WORK: dict[str, Callable[[Mapping[str, Any], Report], Sequence["Finding"]]] = {
    "create": _create,
    "sheet": _sheet,
    "import": _import,
}


def throttled(
    tell: Callable[[str, int, int], None], clock: Callable[[], float] = time.monotonic
) -> Callable[[str, int, int], None]:
    """`tell`, called at most five times a second for one step, and always for a step's first and last."""
    last = ("", -1.0)

    def told(step: str, done: int, total: int) -> None:
        nonlocal last
        now = clock()
        if step != last[0] or done == total or now - last[1] >= _TELL_S:
            last = (step, now)
            tell(step, done, total)

    return told


def _save_preview(video: Path, path: Path) -> None:
    """A picture of the video where it has one; what is wrong with it is found later, and told better."""
    from engine.anchor.page import write_page
    from engine.errors import BadMediaError
    from engine.picture.video import read_rgb

    with suppress(BadMediaError):
        write_page(path, next(read_rgb(video)))


def _draw_sheet(folder: Path, path: Path, tell: "Tell | None" = None) -> None:
    from engine.anchor.contact_sheet import contact_sheet
    from engine.anchor.package import Avatar
    from engine.anchor.page import write_page
    from engine.mouth.openvino_runtime import OpenVinoMouth

    avatar = Avatar.load(folder)
    write_page(path, contact_sheet(avatar, OpenVinoMouth(avatar.mouth), tell))


def _keep_stdout_to_ourselves() -> IO[str]:
    """Standard output for reports alone; what libraries print goes to standard error."""
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return ours


def _step_back() -> None:
    """Take only what live sessions leave of the processors. Ctrl-C in a terminal is for the server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _THREADS:
        os.environ[name] = "1"
    if hasattr(os, "nice"):
        os.nice(19)
    if sys.platform == "linux":
        # Beyond niceness: a thread that wakes up for a tick takes the processor at once.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        if os.getsid(0) == os.getpid():  # else it would be somebody else's session, too
            with suppress(OSError):
                _AUTOGROUP.write_text("19")


def _end_with_stdin() -> None:
    # Not through sys.stdin: a thread that holds its lock would stop the interpreter from ending.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
