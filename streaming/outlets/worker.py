"""The muxing process: `python -m streaming.outlets.worker`, a job and its packets on stdin.

FFmpeg holds Python's lock while it connects and while it closes, which would stop the whole server; and what
is stuck in a dead peer can only be ended with its process. What it tells, on stdout, is a line of JSON each:
{"live": true} once, {"sent": bytes} about once a second, {"error": sentence} before it gives up, with
"full": true where a disk has no space left.
"""

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO

import av
import av.logging

from streaming.outlets.errors import OutletError
from streaming.outlets.muxer import Muxer
from streaming.outlets.sinks import Sink, open_file, open_rtmp, open_udp
from streaming.outlets.srt_socket import open_srt
from streaming.outlets.wire import Job, read_packets

SINKS: dict[str, Callable[[Job], Sink]] = {
    "file": open_file,
    "rtmp": open_rtmp,
    "udp": open_udp,
    "srt": open_srt,
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TELL_S = 1.0
_LEAVE_S = 5.0


def main(source: BinaryIO, tell: Callable[[dict[str, object]], None]) -> int:
    """Do a job; returns the exit status."""
    # Ctrl-C in a terminal reaches the whole group; the server ends this process by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    av.logging.set_level(av.logging.ERROR)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    job = Job.read(source)
    with av.logging.Capture(local=False) as log:
        try:
            _work(job, source, tell)
        except OutletError as error:
            tell({"error": str(error)})
            return 1
        except (av.FFmpegError, OSError) as error:
            told: dict[str, object] = {"error": _reason(error, [text.strip() for _, _, text in log])}
            tell(told | ({"full": True} if error.errno in _FULL else {}))
            return 1
    return 0


def _work(job: Job, source: BinaryIO, tell: Callable[[dict[str, object]], None]) -> None:
    with ExitStack() as stack:
        sink = SINKS[job.sink](job)
        stack.callback(sink.close)
        muxer = stack.enter_context(
            Muxer(
                sink.file,
                sink.format,
                job.muxer_options,
                keyframe=job.keyframe,
                audio_config=job.audio_config,
                metadata=job.metadata,
                buffer_size=sink.buffer_size,
            )
        )
        tell({"live": True})
        sent, told = 0, time.monotonic()
        for packet in read_packets(source):
            muxer.write(packet)
            sent += len(packet.data)
            if (now := time.monotonic()) - told >= _TELL_S:
                tell({"sent": sent})
                sent, told = 0, now
        tell({"sent": sent})


def _leave_with(server: int) -> None:
    """End this process soon after the server's, even if it is stuck; it has time to finish a file."""
    while os.getppid() == server:
        time.sleep(_TELL_S)
    time.sleep(_LEAVE_S)
    os._exit(1)


def _reason(error: Exception, log: list[str]) -> str:
    """What the system says, after what FFmpeg logged, which often says more, such as a server's words."""
    said = getattr(error, "strerror", None) or str(error)
    # The tee muxer only tells that what it leads to has failed.
    told = [line for line in log if not line.startswith(("Slave ", "All tee outputs"))]
    return f"{told[-1]}: {said}" if told else str(said)


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer, _tell))
