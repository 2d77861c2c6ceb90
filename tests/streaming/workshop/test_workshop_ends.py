"""How jobs end: cancelled, forgotten, killed with their server; nothing half-made stays."""

import asyncio
from pathlib import Path

import pytest

from engine.anchor.package import list_avatars
from streaming.errors import (
    NotFound,
)
from streaming.workshop import Patience, Workshop
from tests.streaming.conftest import eventually
from tests.streaming.workshop.conftest import MakeWorkshop
from tests.streaming.workshop.jobs import (
    ended,
    held_body,
    in_the_middle,
    is_running,
    left_in,
    opened,
    started,
)

# Ends


async def test_a_cancelled_job_leaves_nothing_not_even_its_process(workshop: Workshop, own: Path) -> None:
    job = await started(workshop, "wait")
    pid = await in_the_middle(job)
    await workshop.cancel(job.id)
    assert not is_running(pid)
    assert not job.folder.exists()
    assert not (own / "lin").exists()
    with pytest.raises(NotFound):
        workshop.get(job.id)
    assert (await ended(await started(workshop, "good"))).state == "done"


async def test_a_job_cancelled_while_it_waits_never_begins(make_workshop: MakeWorkshop) -> None:
    workshop = make_workshop()
    first = await started(workshop, "wait", "first")
    await in_the_middle(first)
    second = await started(workshop, "good", "second")
    await workshop.cancel(second.id)
    (first.folder / "go").touch()
    await ended(first)
    assert workshop.list() == [first]
    assert "second" not in list_avatars()


async def test_a_job_cancelled_while_its_video_comes_ends_the_upload(workshop: Workshop) -> None:
    job = opened(workshop)
    request, rest = held_body(b"x" * (2 << 20))
    sending = asyncio.create_task(workshop.receive(job, request, 0))
    await eventually(lambda: job.done > 0)
    await workshop.cancel(job.id)
    assert not job.folder.exists()
    rest.set()
    with pytest.raises((NotFound, FileNotFoundError)):
        await sending


async def test_cancelling_what_is_done_keeps_the_presenter(workshop: Workshop, own: Path) -> None:
    job = await ended(await started(workshop, "good"))
    await workshop.cancel(job.id)
    assert workshop.list() == []
    assert (own / "lin" / "avatar.json").is_file()


async def test_the_server_takes_its_workers_along(workshop: Workshop, own: Path) -> None:
    before = list_avatars()
    jobs = [await started(workshop, "wait", "first"), await started(workshop, "good", "second")]
    pid = await in_the_middle(jobs[0])
    await workshop.close()
    assert not is_running(pid)
    assert left_in(own) == []
    assert list_avatars() == before


async def test_a_job_that_gets_no_video_is_forgotten(make_workshop: MakeWorkshop) -> None:
    workshop = make_workshop(Patience(send_s=0.05))
    job = opened(workshop)
    await eventually(lambda: workshop.list() == [])
    assert not job.folder.exists()


async def test_a_job_is_forgotten_an_hour_after_its_end(make_workshop: MakeWorkshop, own: Path) -> None:
    assert Patience().keep_s == 3600
    workshop = make_workshop(Patience(keep_s=0.05))
    job = await started(workshop, "good")
    await eventually(lambda: workshop.list() == [], 60)
    assert job.state == "done"
    assert not job.folder.exists()
    assert (own / "lin" / "avatar.json").is_file()
