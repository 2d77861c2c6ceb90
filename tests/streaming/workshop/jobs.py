"""Jobs of the workshop: requests that bring videos, a worker that only acts, and waiting for what comes."""

import asyncio
import os
from pathlib import Path

from starlette.requests import Request

from engine.anchor.card import Consent
from streaming.workshop import Job, Workshop
from tests.streaming.conftest import eventually

MAKER = Path(__file__).with_name("fake_maker.py")
CONSENT = Consent("person", "Lin", "I agree.", "2026-11-22")
TITLE = {"en": "Lin", "zh": "琳"}


def body(*parts: bytes, ends: bool = True, length: int | None = None) -> Request:
    """A request that brings these parts; without an end its sender is gone after them."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "more_body": False} if ends else {"type": "http.disconnect"})

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return Request({"type": "http", "method": "PUT", "headers": headers}, receive)


def held_body(part: bytes) -> tuple[Request, asyncio.Event]:
    """A request that sends `part`, and ends once the event is set."""
    event = asyncio.Event()
    sent = False

    async def receive() -> dict[str, object]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": part, "more_body": True}
        await event.wait()
        return {"type": "http.request", "more_body": False}

    return Request({"type": "http", "method": "PUT", "headers": []}, receive), event


def opened(workshop: Workshop, name: str | None = "lin") -> Job:
    return workshop.open(name, TITLE, CONSENT)


async def started(workshop: Workshop, play: str, name: str | None = "lin") -> Job:
    """A job whose video is there."""
    job = opened(workshop, name)
    await workshop.receive(job, body(play.encode()), 0)
    return job


async def ended(job: Job) -> Job:
    await eventually(lambda: job.over, 60)
    return job


def pid_of(job: Job) -> int:
    return int((job.folder / "pid").read_text())


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def in_the_middle(job: Job) -> int:
    """Waits until half an avatar is there; returns the worker's process."""
    await eventually(lambda: (job.output / job.wanted.name / "half").exists(), 60)
    return pid_of(job)


def left_in(folder: Path) -> list[Path]:
    """What is in a folder of avatars and is no avatar."""
    return [path for path in folder.glob("*") if not (path / "avatar.json").is_file()]
