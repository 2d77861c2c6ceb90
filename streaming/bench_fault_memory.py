"""A presenter is asked for that does not fit into memory, while others are on stage."""

import asyncio
import json
import resource
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from engine.anchor.card import read_card, write_card
from engine.anchor.package import find_avatar, mouth_folder
from streaming.bench_fault_crowd import Answers, ask
from streaming.bench_faults import Command, Figure, at_most, running_show, told
from streaming.bench_server import server_command
from streaming.process_figures import need_proc, read_process

_FAULT = "presenter too large for memory"
_HUGE = "huge"
_CLIPS = 31
_SPARE_BYTES = 768 << 20
"""What the server may take beyond what it has when it serves its sessions."""

_QUIET_S = 4.0
_AGAIN = 3


async def out_of_memory(command: Command = server_command, sessions: int = 2) -> list[Figure]:
    """The server's address space is limited while it serves; then a huge presenter is asked for, thrice."""
    need_proc()
    with tempfile.TemporaryDirectory() as folder:
        await asyncio.to_thread(_make_huge, Path(folder))
        environment = {"KOUBO_AVATARS": folder, "KOUBO_AVATAR_STORE_MB": "0"}
        async with running_show(sessions, command, most=sessions + 1, environment=environment) as show:
            stretch, pid = show.stretch(), show.server.process.pid
            await stretch.begin()
            await asyncio.sleep(_QUIET_S)
            before, held = await stretch.end(), read_process(pid)
            limit = _address_space(pid) + _SPARE_BYTES
            resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
            answers = Answers()
            body = json.dumps({"avatar": _HUGE}).encode()
            await stretch.begin()
            for _ in range(_AGAIN):
                await ask(show.server, "/v1/sessions", body, "application/json", "127.0.0.1", answers)
            await asyncio.sleep(_QUIET_S)
            during, left = await stretch.end(), read_process(pid)
            alive = show.server.process.poll() is None
            spoken = answers.bodies[0].decode()
    refused = sum(count for status, count in answers.statuses.items() if 500 <= status < 600)
    clear = refused == _AGAIN == answers.waits_told and len(json.loads(spoken)["detail"]) < 300
    return [
        Figure(_FAULT, "refused with one sentence and Retry-After", refused, "", f"= {_AGAIN}", clear),
        at_most(_FAULT, "answered within, at most", 1000 * max(answers.seconds), 5000, "ms"),
        Figure(_FAULT, "server still there", float(alive), "", "= 1", alive),
        told(_FAULT, "tick lateness p99, before", before.p99_ms, "ms"),
        told(_FAULT, "tick lateness p99, during", during.p99_ms, "ms"),
        at_most(_FAULT, "late ticks, share more than before", during.late_share - before.late_share, 0.01),
        at_most(_FAULT, "memory grown", left.own_mb - held.own_mb, 64, "MiB"),
    ]


def _make_huge(folder: Path) -> None:
    """A presenter of thousands of frames: the shipped one's clip under many names."""
    shipped = find_avatar("ada")
    card = read_card(shipped)
    huge = folder / _HUGE
    shutil.copytree(shipped, huge)
    shutil.copytree(mouth_folder(shipped, card), huge / "mouth", dirs_exist_ok=True)
    idle = card.clips[0]
    (huge / "clips").mkdir(exist_ok=True)
    more = []
    for number in range(_CLIPS):
        name = f"gesture-{number}"
        (huge / "clips" / f"{name}.mp4").hardlink_to(huge / idle.file)
        more.append(replace(idle, name=name, kind="gesture", file=f"clips/{name}.mp4"))
    write_card(huge, replace(card, name=_HUGE, mouth="mouth", clips=(idle, *more)))


def _address_space(pid: int) -> int:
    """Bytes that a process has mapped."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()
