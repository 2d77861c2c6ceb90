"""Jobs: from a promised video to a presenter in its place, under a name of its own, one at a time."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from engine.anchor.package import Avatar, check_name, list_avatars
from streaming.errors import (
    Busy,
    Conflict,
    NotFound,
    Unprocessable,
)
from streaming.workshop import Workshop, free_name
from tests.streaming.conftest import eventually
from tests.streaming.workshop.conftest import MakeWorkshop
from tests.streaming.workshop.jobs import (
    TITLE,
    body,
    ended,
    held_body,
    in_the_middle,
    opened,
    started,
)

# The way of a job


async def test_a_video_becomes_a_presenter_in_its_place(workshop: Workshop, own: Path) -> None:
    job = opened(workshop)
    assert (job.state, job.error, job.findings) == ("waiting", None, [])
    await workshop.receive(job, body(b"go", b"od"), 4)
    assert job.state == "queued"
    await ended(job)
    assert (job.state, job.error) == ("done", None)
    assert [remark.code for remark in job.findings] == ["no-sound"]
    assert Avatar.load(own / "lin").frames > 0
    assert "lin" in list_avatars()
    assert job.preview.read_bytes().startswith(b"\xff\xd8\xff")
    assert not job.video.exists()
    assert not job.output.exists()


async def test_the_worker_is_told_everything(workshop: Workshop, tmp_path: Path) -> None:
    script = tmp_path / "listener.py"
    script.write_text(
        "import json, sys\n"
        "order = json.loads(sys.stdin.readline())\n"
        "print(json.dumps({'error': json.dumps(order)}))\n"
    )
    workshop._command = (sys.executable, str(script))
    job = await ended(await started(workshop, "any"))
    assert job.error is not None
    order = json.loads(job.error)
    assert (order["do"], order["name"], order["title"]) == ("create", "lin", TITLE)
    assert order["consent"] == {"shown": "person", "by": "Lin", "statement": "I agree.", "on": "2026-11-22"}
    assert all(Path(order[key]).is_absolute() for key in ("video", "output", "preview", "sheet"))


async def test_unfit_footage_says_why_and_leaves_nothing(workshop: Workshop, own: Path) -> None:
    job = await ended(await started(workshop, "unfit"))
    assert (job.state, job.error) == ("failed", "The face is too small.")
    assert [(remark.code, remark.severity) for remark in job.findings] == [
        ("face-small", "problem"),
        ("no-sound", "advice"),
    ]
    assert job.findings[0].values == {"width": 40}
    assert job.findings[0].at_s == 1.5
    assert not (own / "lin").exists()
    assert not job.video.exists()
    # The name is free again.
    assert (await ended(await started(workshop, "good"))).state == "done"


@pytest.mark.parametrize("play", ["crash", "nothing"])
async def test_a_worker_that_dies_is_a_sentence_and_a_line_in_the_log(
    workshop: Workshop, own: Path, play: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = await ended(await started(workshop, play))
    assert job.error == "The work broke off unexpectedly; the server's log says why."
    assert "a worker ended with status" in caplog.text
    assert ("it hurts" in caplog.text) == (play == "crash")
    assert not (own / "lin").exists()


async def test_what_is_no_report_does_not_disturb(workshop: Workshop) -> None:
    assert (await ended(await started(workshop, "babble"))).state == "done"


async def test_progress_is_told_while_it_goes_on(workshop: Workshop) -> None:
    job = opened(workshop)
    request, rest = held_body(b"wait" + b" " * (2 << 20))
    sending = asyncio.create_task(workshop.receive(job, request, 5 << 20))
    await eventually(lambda: job.done > 1 << 20)
    assert (job.state, job.total) == ("uploading", 5 << 20)
    rest.set()
    await sending
    await in_the_middle(job)
    await eventually(lambda: (job.state, job.step, job.done, job.total) == ("looking", "look", 2, 2))
    (job.folder / "go").touch()
    await ended(job)
    assert job.step == ""


# Names


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        ".",
        "/etc",
        "a/b",
        "a\\b",
        "../../x",
        "C:",
        "jobs",
        "import",
        "mouths",
        "-x",
        "a b",
        "x\0",
        "é" * 99,
    ],
)
async def test_hostile_names_are_refused(workshop: Workshop, own: Path, name: str) -> None:
    with pytest.raises(Unprocessable, match="cannot name an avatar"):
        opened(workshop, name)
    assert workshop.list() == []


async def test_a_taken_name_is_refused(workshop: Workshop, own: Path, avatar_folder: Path) -> None:
    job = opened(workshop)
    with pytest.raises(Conflict, match="already a presenter called lin"):
        opened(workshop)
    await workshop.cancel(job.id)
    (own / "lin").mkdir()
    with pytest.raises(Conflict):
        opened(workshop)
    (own / "lin").rmdir()
    with pytest.raises(Conflict):
        opened(workshop, "ada")


async def test_a_presenter_that_came_in_the_meantime_is_not_touched(workshop: Workshop, own: Path) -> None:
    job = await started(workshop, "wait")
    await in_the_middle(job)
    (own / "lin").mkdir()
    (own / "lin" / "avatar.json").write_text("another's")
    (job.folder / "go").touch()
    await ended(job)
    assert (job.state, job.error) == (
        "failed",
        "There is a presenter called lin by now; make this one under another name.",
    )
    assert [path.name for path in (own / "lin").iterdir()] == ["avatar.json"]
    assert (own / "lin" / "avatar.json").read_text() == "another's"


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Lin", "lin"),
        ("Lin Wei!", "lin-wei"),
        ("小美", "小美"),
        ("../../etc/passwd", "etc-passwd"),
        ("🙂", "presenter"),
        ("Jobs", "jobs-2"),
        ("É" * 80, "é" * 40),
        ("taken", "taken-3"),
        ("a" * 39 + " b", "a" * 39),
    ],
)
def test_a_title_gives_a_name(title: str, name: str) -> None:
    found = free_name({"en": title}, {"taken", "taken-2"}.__contains__)
    assert found == name
    check_name(found)


# Order and number


async def test_one_is_made_at_a_time_and_the_others_wait_their_turn(make_workshop: MakeWorkshop) -> None:
    workshop = make_workshop(makers=1, makers_waiting=1)
    first = await started(workshop, "wait", "first")
    await in_the_middle(first)
    second = await started(workshop, "good", "second")
    with pytest.raises(Busy, match="try again") as refused:
        opened(workshop, "third")
    assert int(refused.value.headers["Retry-After"]) > 0
    assert second.state == "queued"
    (first.folder / "go").touch()
    await ended(first)
    await ended(second)
    assert (first.state, second.state) == ("done", "done")
    assert opened(workshop, "third").state == "waiting"


async def test_two_may_be_made_at_a_time(make_workshop: MakeWorkshop) -> None:
    workshop = make_workshop(makers=2)
    jobs = [await started(workshop, "wait", name) for name in ("first", "second")]
    pids = [await in_the_middle(job) for job in jobs]
    assert len(set(pids)) == 2
    for job in jobs:
        (job.folder / "go").touch()
        await ended(job)


async def test_ids_cannot_be_guessed(make_workshop: MakeWorkshop) -> None:
    workshop = make_workshop(makers_waiting=20)
    ids = {opened(workshop, None).id for _ in range(20)}
    assert len(ids) == 20
    assert all(len(one) >= 22 for one in ids)
    with pytest.raises(NotFound):
        workshop.get("x")
