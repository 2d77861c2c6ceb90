"""OBS itself plays what an outlet sends; screenshots of its source show who is there and speaks."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from engine.anchor.crop import Picture
from engine.anchor.package import Avatar, find_avatar
from streaming.bench_server import running_server, server_command
from tests.obs.asking import ask
from tests.obs.likeness import Anchors
from tests.obs.program import SOURCE, media_source, need_obs, obs
from tests.obs.remote import Refused, Remote

pytestmark = pytest.mark.slow

TEXT = "Hello, welcome everybody. I am on the air, and my mouth is moving all the time. " * 2

WAYS = {
    "udp": ("udp://127.0.0.1:{port}", "udp://127.0.0.1:{port}"),
    "srt-caller": ("srt://127.0.0.1:{port}?mode=listener", "srt://127.0.0.1:{port}?mode=caller"),
    "srt-listener": ("srt://127.0.0.1:{port}", "srt://127.0.0.1:{port}?mode=listener"),
}
"""Addresses of the outlet and of OBS's source."""

STILL, MOVING = 6.0, 10.0
"""Mean difference around the mouth, in levels of 255: at most of a still one, at least of one that speaks."""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def look(remote: Remote, count: int) -> list[Picture]:
    return [await asyncio.to_thread(remote.screenshot, SOURCE) for _ in range(count)]


async def until_it_plays(remote: Remote) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Refused):
                await asyncio.to_thread(remote.screenshot, SOURCE)
                break
            await asyncio.sleep(0.5)
    # What it buffered while it opened is played a little faster; then it is live.
    await asyncio.sleep(4)


@pytest.mark.parametrize("way", WAYS)
async def test_obs_shows_the_presenter_speaking(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_obs()
    monkeypatch.setenv("KOUBO_OUTLET_NETWORKS", '["127.0.0.0/8"]')
    port = free_port()
    outlet, source = (address.format(port=port) for address in WAYS[way])
    async with running_server(1, server_command) as server:
        session = f"/v1/sessions/{(await ask(server, 'POST', '/v1/sessions', avatar='ada'))['id']}"
        await ask(server, "POST", f"{session}/outlets", url=outlet)
        with obs(tmp_path) as studio:
            remote = studio.remote
            settings = media_source(source, "mpegts")
            remote.ask(
                "CreateInput",
                sceneName=remote.ask("GetSceneList")["currentProgramSceneName"],
                inputName=SOURCE,
                inputKind="ffmpeg_source",
                inputSettings=settings,
            )
            await until_it_plays(remote)
            still = await look(remote, 3)
            quiet = await asyncio.to_thread(remote.loudest, SOURCE, 0.5)
            await ask(server, "POST", f"{session}/speak", text=TEXT)
            await asyncio.sleep(1)
            loud = await asyncio.to_thread(remote.loudest, SOURCE, 1.5)
            moving = await look(remote, 6)
    anchors = Anchors(Avatar.load(find_avatar("ada")))
    idle, speaking = ([anchors.compare(picture) for picture in shown] for shown in (still, moving))
    assert max(seen.face for seen in idle + speaking) < STILL
    assert max(seen.mouth for seen in idle) < STILL
    assert max(seen.mouth for seen in speaking) > MOVING
    assert len({seen.frame for seen in idle + speaking}) > 3, "the picture moves"
    assert quiet < 0.01
    assert loud > 0.05
