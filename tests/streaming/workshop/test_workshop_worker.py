"""The worker's process: what it reports, how it steps back, and that it dies with its server."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.anchor.checks import Finding
from engine.errors import AvatarError, BadMediaError, FootageError, MissingToolError
from streaming import workshop_worker
from streaming.worker_process import Told, run_worker
from streaming.workshop_worker import carry_out, throttled

ROOT = Path(__file__).resolve().parents[3]
HAS_AUTOGROUPS = workshop_worker._AUTOGROUP.exists()
FINDING = Finding("face-small", "problem", "Come closer.", {"width": 40}, 1.5)


PLAY = """
import os, sys, time
from streaming import workshop_worker as worker

def work(order, report):
    {work}
    return ()

worker._WORK["play"] = work
worker.main()
"""


def told_by(work: str) -> list[Told]:
    """The lines of a worker that does `work`; its input stays open until it has ended by itself."""
    with subprocess.Popen(
        [sys.executable, "-c", PLAY.format(work=work)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as worker:
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(b'{"do": "play"}\n')
        worker.stdin.flush()
        return [Told.model_validate_json(line) for line in worker.stdout]


def test_what_libraries_print_is_no_report() -> None:
    lines = told_by("print('hello'); os.write(1, b'W0000 hello from C\\n'); report(step='look')")
    assert lines == [Told(step="look"), Told(finished=True)]


def test_it_steps_back_behind_everything_else() -> None:
    scheduler = "os.sched_getscheduler(0) if hasattr(os, 'sched_getscheduler') else -1"
    (step, _) = told_by(f"report(step='look', done=os.nice(0), total={scheduler})")
    assert step.done == 19
    if sys.platform == "linux":
        assert step.total == os.SCHED_IDLE


async def test_it_is_in_a_session_of_its_own(tmp_path: Path) -> None:
    groups = "open('/proc/self/autogroup').read()" if HAS_AUTOGROUPS else "''"
    work = f"report(step='look', done=os.getsid(0) == os.getpid(), error={groups} or 'none')"
    told: list[Told] = []
    command = (sys.executable, "-c", PLAY.format(work=work))
    await run_worker(command, {"do": "play"}, tmp_path, told.append)
    assert told[0].done == 1
    assert told[0].error is not None
    assert told[0].error.strip().endswith(("nice 19", "none"))


def test_it_dies_with_its_server() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PLAY.format(work="report(step='look'); time.sleep(600)")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as worker:
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(b'{"do": "play"}\n')
        worker.stdin.flush()
        assert json.loads(worker.stdout.readline())["step"] == "look"
        worker.stdin.close()
        assert worker.wait(60) == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FootageError([FINDING]), "Come closer."),
        (BadMediaError("It is no video."), "It is no video."),
        (AvatarError("It has no mouth."), "It has no mouth."),
        (
            MissingToolError("MediaPipe is not installed; run `pip install mediapipe`."),
            "This server cannot make presenters yet: "
            "MediaPipe is not installed; run `pip install mediapipe`.",
        ),
        (OSError(28, "Disk full"), "The presenter cannot be written (disk full)."),
    ],
)
def test_what_people_can_mend_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def work(order: Mapping[str, Any], report: workshop_worker.Report) -> list[Finding]:
        raise error

    monkeypatch.setitem(workshop_worker._WORK, "play", work)
    lines: list[Told] = []
    carry_out({"do": "play"}, lambda **fields: lines.append(Told.model_validate(fields)))
    assert [line.error for line in lines] == [sentence]
    assert [remark.code for remark in lines[0].findings] == (
        ["face-small"] if isinstance(error, FootageError) else []
    )


def test_a_defect_is_not_taken_for_a_mistake_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(order: Mapping[str, Any], report: workshop_worker.Report) -> list[Finding]:
        raise RuntimeError

    monkeypatch.setitem(workshop_worker._WORK, "play", work)
    with pytest.raises(RuntimeError):
        carry_out({"do": "play"}, lambda **fields: None)


def test_steps_are_not_told_too_often() -> None:
    now = 0.0
    told: list[tuple[str, int, int]] = []
    tell = throttled(lambda *line: told.append(line), lambda: now)
    for done in range(101):
        now += 0.01
        tell("look", done, 100)
    assert len(told) <= 8
    assert told[0] == ("look", 0, 100)
    assert told[-1] == ("look", 100, 100)
    tell("film", 0, 0)
    assert told[-1] == ("film", 0, 0)


async def test_the_real_worker_says_that_a_text_is_no_video(tmp_path: Path) -> None:
    video = tmp_path / "video"
    video.write_text("This is no video.")
    (tmp_path / "output").mkdir()
    order = {
        "do": "create",
        "name": "lin",
        "title": {"en": "Lin"},
        "consent": {"shown": "person", "by": "Lin", "statement": "I agree.", "on": "2026-11-22"},
        "video": str(video),
        "output": str(tmp_path / "output"),
        "preview": str(tmp_path / "preview.jpg"),
        "sheet": str(tmp_path / "sheet.jpg"),
    }
    told = await run_worker((sys.executable, "-m", "streaming.workshop_worker"), order, tmp_path)
    assert told.error is not None
    assert told.error.endswith(".")
    assert "unexpectedly" not in told.error
    assert not (tmp_path / "output" / "lin").exists()
