"""The hidden folder of a server: there when needed, gone with it, cleaned up after a crash."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import KouboError
from streaming.workroom import Workroom

# The room


def test_rooms_of_servers_that_are_gone_are_removed_and_no_others(tmp_path: Path) -> None:
    living = Workroom(tmp_path)
    (living.new("job") / "video").write_bytes(b"x")
    dead = tmp_path / ".workroom-dead"
    (dead / "job" / "output").mkdir(parents=True)
    (tmp_path / ".workroom-dead.lock").touch()
    avatar = tmp_path / "lin"
    avatar.mkdir()
    Workroom(tmp_path).clear_leftovers()
    assert not dead.exists()
    assert not (tmp_path / ".workroom-dead.lock").exists()
    assert (living.folder() / "job" / "video").exists()
    assert avatar.exists()
    living.close()
    assert list(tmp_path.iterdir()) == [avatar]


def test_nothing_is_written_before_it_is_needed(tmp_path: Path) -> None:
    room = Workroom(tmp_path / "own")
    room.clear_leftovers()
    room.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("a file")
    room = Workroom(tmp_path / "own")
    with pytest.raises(KouboError, match="KOUBO_AVATARS"):
        room.folder()


def test_only_the_server_may_look_into_the_room(tmp_path: Path) -> None:
    room = Workroom(tmp_path)
    assert room.folder().stat().st_mode & 0o077 == 0
    room.close()


def test_a_killed_server_leaves_a_room_that_the_next_one_removes(own: Path, tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(
        "import asyncio, sys\n"
        "from streaming.settings import Settings\n"
        "from streaming.workshop import Workshop\n"
        "from tests.streaming.workshop.jobs import MAKER, in_the_middle, started\n"
        "async def main():\n"
        "    command = (sys.executable, str(MAKER), 'none')\n"
        "    workshop = Workshop(Settings(uploads_min_free_mb=0), command=command)\n"
        "    print(await in_the_middle(await started(workshop, 'wait')), flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    root = str(Path(__file__).resolve().parents[3])
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
    ) as server:
        assert server.stdout
        worker = int(server.stdout.readline())
        Workroom(own).clear_leftovers()
        assert any(own.glob(".workroom-*/*/output/lin/half"))
        server.kill()
    os.kill(worker, signal.SIGKILL)  # the real one ends by itself
    Workroom(own).clear_leftovers()
    assert list(own.iterdir()) == []
