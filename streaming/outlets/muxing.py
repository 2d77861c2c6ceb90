"""An outlet that a process of its own muxes: the packets of the hub go there through a pipe."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

from streaming.encoding.base import EncodedPicture
from streaming.encoding.hub import EncodeHub
from streaming.outlets.base import Report
from streaming.outlets.errors import OutletError
from streaming.outlets.packets import PacketQueue, Timeline
from streaming.outlets.recordings import DISK_FULL
from streaming.outlets.wire import Job, pack

CONNECT_S = 15.0
STALL_S = 10.0
"""A peer that has taken nothing for so long is given up."""

_FIRST_PICTURE_S = 10.0
_END_S = 2.0
"""For a process to end by itself once its input has ended."""

_GONE_S = 1.0
"""For a killed one to be gone. One that a dead disk holds goes when the disk comes back; nobody waits."""

_NICENESS = 10

MPEG_TS = {"mpegts_flags": "pat_pmt_at_frames", "flush_packets": "1"}
"""Options of the container. Players may join at any time, so its tables come with every key frame."""

MakeJob = Callable[[bytes, bytes], Awaitable[Job]]
"""The job of a connection, from a key frame (Annex B) and an AudioSpecificConfig."""


class MuxedOutlet:
    """Sends H.264 and AAC through a muxing process.

    `revocable`: an interrupt takes back sound that has not left. `patient`: the peer may come whenever it
    likes. `explain` makes a sentence of what the process says about a fault.
    """

    def __init__(
        self,
        hub: EncodeHub,
        make_job: MakeJob,
        explain: Callable[[str], OutletError],
        *,
        revocable: bool = True,
        patient: bool = False,
    ) -> None:
        self.place: str | None = None
        self._hub = hub
        self._make_job = make_job
        self._explain = explain
        self._revocable = revocable
        self._patient = patient

    async def run(self, report: Report) -> None:
        """One connection; see `Outlet`."""
        queue = PacketQueue(revocable=self._revocable)
        attachment = queue.attach(self._hub, video="h264", audio="aac")
        try:
            keyframe = await _first_keyframe(queue)
            job = await self._make_job(keyframe, attachment.audio_config)
            process = await MuxingProcess.start(job)
            try:
                await self._connect(process)
                report.live()
                queue.renew()
                await self._feed(queue, process, report)
            finally:
                await process.end(report)
        finally:
            queue.detach()

    async def _connect(self, process: "MuxingProcess") -> None:
        try:
            async with asyncio.timeout(None if self._patient else CONNECT_S):
                said = await process.hear()
        except TimeoutError as error:
            raise self._explain("it did not answer in time") from error
        if "live" not in said:
            raise self._fault(said)

    async def _feed(self, queue: PacketQueue, process: "MuxingProcess", report: Report) -> None:
        listening = asyncio.ensure_future(self._listen(process, report))
        feeding = asyncio.ensure_future(_pump(queue, process))
        try:
            done, _ = await asyncio.wait([listening, feeding], return_when=asyncio.FIRST_COMPLETED)
            # What the process says explains more than the pipe that broke because it ended.
            if listening in done or not process.stalled:
                fault = await listening
            else:
                fault = self._explain(f"it has taken nothing for {STALL_S:.0f} seconds")
            raise fault
        finally:
            for task in (listening, feeding):
                task.cancel()
            await asyncio.wait([listening, feeding])

    async def _listen(self, process: "MuxingProcess", report: Report) -> OutletError:
        while True:
            said = await process.hear()
            if "sent" in said:
                report.sent(int(str(said["sent"])))
            else:
                return self._fault(said)

    def _fault(self, said: dict[str, object]) -> OutletError:
        if said.get("full"):
            return OutletError(DISK_FULL, final=True)
        return self._explain(str(said.get("error", "its process ended")))


async def _first_keyframe(queue: PacketQueue) -> bytes:
    try:
        async with asyncio.timeout(_FIRST_PICTURE_S):
            while True:
                item = await queue.get()
                if isinstance(item, EncodedPicture):
                    return item.data
    except TimeoutError as error:
        raise OutletError("The presenter gives no pictures; try again, or open another session.") from error


async def _pump(queue: PacketQueue, process: "MuxingProcess") -> None:
    """Give the process what comes until it takes no more."""
    timeline = Timeline()
    while True:
        packet = timeline.place(await queue.get())
        if packet is not None and not await process.give(pack(packet)):
            return


class MuxingProcess:
    """A running `streaming.outlets.worker`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self.stalled = False

    @classmethod
    async def start(cls, job: Job) -> "MuxingProcess":
        """Start one on a job."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "streaming.outlets.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        if hasattr(os, "setpriority"):
            # It begins with a third of a second of imports; ticks come first.
            with suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
        started = cls(process)
        started._stdin.write(job.to_bytes())
        return started

    async def hear(self) -> dict[str, object]:
        """What it says next; empty when it has ended."""
        line = await self._stdout.readline()
        said: dict[str, object] = json.loads(line) if line.endswith(b"\n") else {}
        return said

    async def give(self, data: bytes) -> bool:
        """Hand it a packet; False when it has ended, or has taken nothing for too long (`stalled`)."""
        self._stdin.write(data)
        try:
            async with asyncio.timeout(STALL_S):
                await self._stdin.drain()
        except TimeoutError:
            self.stalled = True
            return False
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    async def end(self, report: Report) -> None:
        """Let it finish, for a moment; end it by force otherwise. Nothing of it is left afterwards."""
        self._stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                while said := await self.hear():
                    report.sent(int(str(said.get("sent", 0))))
                await self._process.wait()
        except TimeoutError:
            self._kill()
        except asyncio.CancelledError:
            self._kill()
            raise
        finally:
            with suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
                async with asyncio.timeout(_GONE_S):
                    await self._process.wait()
                    await self._stdin.wait_closed()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
