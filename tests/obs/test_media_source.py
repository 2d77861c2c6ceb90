"""OBS itself plays what an outlet sends; screenshots of its source show who is there and speaks."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from engine.anchor.package import Avatar, find_avatar
from streaming.bench_server import Server, running_server, server_command
from tests.obs.likeness import Anchors, Likeness
from tests.obs.program import SOURCE, media_source, need_obs, obs
from tests.obs.remote import Remote

pytestmark = pytest.mark.slow

TEXT = "Hello, welcome everybody. I am on the air, and my mouth is moving all the time, without a pause."
JSON = "application/json"

WAYS = {
    "udp": ("udp://127.0.0.1:{port}", "udp://127.0.0.1:{port}"),
    "srt, OBS calls": ("srt://127.0.0.1:{port}?mode=listener", "srt://127.0.0.1:{port}?mode=caller"),
    "srt, OBS is called": ("srt://127.0.0.1:{port}", "srt://127.0.0.1:{port}?mode=listener"),
}
"""Addresses of the outlet and of OBS's source."""

STILL, MOVING = 6.0, 10.0
"""Mean difference around the mouth, in levels of 255: at most of a still one, at least of one that speaks."""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def ask(server: Server, method: str, path: str, **body: object) -> dict[str, object]:
    answer = await server.request(method, path, json.dumps(body) if body else None, JSON)
    return dict(json.loads(answer)) if answer else {}


async def look(remote: Remote, anchors: Anchors, count: int) -> list[Likeness]:
    return [anchors.compare(await asyncio.to_thread(remote.screenshot, SOURCE)) for _ in range(count)]


async def until_it_plays(remote: Remote) -> None:
    for _ in range(100):
        status = await asyncio.to_thread(remote.ask, "GetMediaInputStatus", inputName=SOURCE)
        if status["mediaState"] == "OBS_MEDIA_STATE_PLAYING":
            break
        await asyncio.sleep(0.2)
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
    anchors = Anchors(Avatar.load(find_avatar("ada")))
    async with running_server(1, server_command) as server:
        session = f"/v1/sessions/{(await ask(server, 'POST', '/v1/sessions', avatar='ada'))['id']}"
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
            await ask(server, "POST", f"{session}/outlets", url=outlet)
            await until_it_plays(remote)
            idle = await look(remote, anchors, 3)
            quiet = await asyncio.to_thread(remote.loudest, SOURCE, 0.5)
            await ask(server, "POST", f"{session}/speak", text=TEXT)
            await asyncio.sleep(1.5)
            speaking = await look(remote, anchors, 6)
            loud = await asyncio.to_thread(remote.loudest, SOURCE, 1.0)
    print(way, idle, speaking, quiet, loud)
    assert max(seen.face for seen in idle + speaking) < STILL
    assert max(seen.mouth for seen in idle) < STILL
    assert max(seen.mouth for seen in speaking) > MOVING
    assert len({seen.frame for seen in idle + speaking}) > 3, "the picture moves"
    assert quiet < 0.01
    assert loud > 0.05
