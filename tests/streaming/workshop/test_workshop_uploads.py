"""Videos on their way to a job: broken, endless, too large, onto a full disk; never whole in memory."""

import asyncio
import errno
import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import Request

from streaming.errors import (
    BadRequest,
    Conflict,
    NoRoom,
    Refusal,
    TooLarge,
    TooSlow,
    Unprocessable,
)
from streaming.upload import Allowance
from streaming.workshop import Workshop
from tests.streaming.conftest import eventually
from tests.streaming.workshop.conftest import MakeWorkshop
from tests.streaming.workshop.jobs import (
    CONSENT,
    TITLE,
    body,
    ended,
    held_body,
    opened,
)

# Uploads


async def test_a_second_video_is_refused(workshop: Workshop) -> None:
    job = opened(workshop)
    request, rest = held_body(b"good")
    sending = asyncio.create_task(workshop.receive(job, request, 0))
    await eventually(lambda: job.state == "uploading")
    with pytest.raises(Conflict, match="has its video already"):
        await workshop.receive(job, body(b"crash"), 0)
    rest.set()
    await sending
    with pytest.raises(Conflict):
        await workshop.receive(job, body(b"crash"), 0)
    assert (await ended(job)).state == "done"


BROKEN: list[tuple[Request, type[Refusal]]] = [
    (body(b"half", ends=False), BadRequest),
    (body(), Unprocessable),
    (body(b"x" * 700_000, b"x" * 700_000), TooLarge),
    (body(b"x", length=2 << 20), TooLarge),
]


@pytest.mark.parametrize("kind", range(len(BROKEN)), ids=["broken", "empty", "large", "announced"])
async def test_after_a_bad_upload_the_job_waits_for_another(make_workshop: MakeWorkshop, kind: int) -> None:
    workshop = make_workshop(upload_max_mb=1)
    job = opened(workshop)
    request, refusal = BROKEN[kind]
    with pytest.raises(refusal):
        await workshop.receive(job, request, 0)
    assert job.state == "waiting"
    assert not job.video.exists()
    await workshop.receive(job, body(b"good"), 0)
    assert (await ended(job)).state == "done"


async def test_a_slow_upload_is_given_up(workshop: Workshop) -> None:
    workshop.allowance = replace(workshop.allowance, stall_s=0.05)
    job = opened(workshop)
    request, _ = held_body(b"go")
    with pytest.raises(TooSlow, match="send it again"):
        await workshop.receive(job, request, 0)
    assert job.state == "waiting"
    assert not job.video.exists()


async def test_a_full_disk_is_told_before_anything_is_sent(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.allowance = Allowance(500, 1 << 30)
    with pytest.raises(NoRoom, match="make room there") as refused:
        opened(workshop)
    assert refused.value.status == 507
    assert workshop.list() == []


async def test_a_size_that_is_too_large_is_told_before_anything_is_sent(workshop: Workshop) -> None:
    with pytest.raises(TooLarge, match="larger than 500 MB"):
        workshop.open("lin", TITLE, CONSENT, 501 << 20)


class FullDisk(io.BytesIO):
    """A file whose disk takes one megabyte."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self.tell() >= 1 << 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


async def test_a_disk_that_fills_up_in_the_middle_is_a_sentence(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = opened(workshop)
    really_open = Path.open

    def open_(path: Path, mode: str = "r", *rest: object) -> object:
        if path != job.video:
            return really_open(path, mode, *rest)  # type: ignore[call-overload]
        path.touch()
        return FullDisk()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_)
        with pytest.raises(NoRoom, match="disk is full"):
            await workshop.receive(job, body(b"x" * (1 << 20), b"x" * (1 << 20)), 0)
    assert not job.video.exists()
    assert job.state == "waiting"


async def test_room_that_others_take_during_an_upload_ends_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.allowance = Allowance(500, 100)
    job = opened(workshop)
    usage = type("Usage", (), {"free": 99 << 20})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(NoRoom, match="99 MB would stay free, and 100 MB must"):
        await workshop.receive(job, body(b"good"), 0)
    assert not job.video.exists()
