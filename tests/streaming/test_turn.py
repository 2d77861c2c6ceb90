"""ICE servers: what clients are told, what the server asks itself, and pictures through a real coturn."""

import asyncio
import base64
import hashlib
import hmac
import re
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from aiortc import RTCIceServer
from aiortc.sdp import SessionDescription
from pydantic import ValidationError

from streaming.cast import EngineCast
from streaming.server import create_app
from streaming.settings import IceServer, Settings
from streaming.turn import client_ice_servers, ice_links, server_ice_servers, turn_credentials
from streaming.webrtc.client import Watcher
from tests.fakes import FakeMouth
from tests.streaming.conftest import eventually, exchange
from tests.streaming.listening import Recorder

SECRET = "north-9f2c"
STUN = IceServer(url="stun:stun.example")
FIXED = IceServer(url="turn:fixed.example", username="u", credential="c")


def at(now: float = 1_700_000_000.0) -> float:
    return now


def turn_settings(*urls: str, **values: object) -> Settings:
    return Settings.model_validate({"turn_urls": urls, "turn_secret": SECRET, **values})


def test_credentials_are_those_of_the_turn_rest_draft() -> None:
    # printf '%s' 1700000000:alice | openssl dgst -binary -sha1 -hmac north | base64
    assert turn_credentials("north", "alice", 1_700_000_000) == (
        "1700000000:alice",
        "Cd/49soE35ICqcJF/bCTn8Z4OyE=",
    )
    assert turn_credentials("north", "", 1_700_000_000)[0] == "1700000000"


def test_each_client_gets_credentials_that_begin_now() -> None:
    settings = turn_settings("turn:a.example", "turns:a.example:5349", turn_credential_s=600)
    told = client_ice_servers(settings, "s1", at)
    assert [server.url for server in told] == ["turn:a.example", "turns:a.example:5349"]
    for server in told:
        assert server.username == "1700000600:s1"
        digest = hmac.new(SECRET.encode(), b"1700000600:s1", hashlib.sha1).digest()
        assert server.credential == base64.b64encode(digest).decode()
    later = client_ice_servers(settings, "s1", lambda: at() + 1)
    assert later[0].username == "1700000601:s1"
    assert later[0].credential != told[0].credential


def test_fixed_servers_are_told_as_they_are() -> None:
    assert client_ice_servers(Settings(ice_servers=(STUN, FIXED)), "s1") == (STUN, FIXED)
    both = client_ice_servers(turn_settings("turn:a.example", ice_servers=[STUN]), "s1", at)
    assert both[0] == STUN
    assert both[1].url == "turn:a.example"


@pytest.mark.parametrize(
    ("servers", "relay", "chosen"),
    [
        ([], False, []),
        (["stun:a", "stun:b"], False, ["stun:a"]),
        (["turn:a", "stun:b"], False, ["stun:b"]),
        (["stuns:a", "turn:b"], False, []),
        (["turns:a", "turn:b?transport=tcp", "turn:c", "stun:d"], True, ["stun:d", "turn:c"]),
        (["turns:a", "turn:b?transport=tcp"], True, ["turns:a"]),
        (["turns:a?transport=tcp", "turn:b?transport=tcp"], True, ["turn:b?transport=tcp"]),
    ],
)
def test_the_server_itself_asks_one_of_a_kind(servers: list[str], relay: bool, chosen: list[str]) -> None:
    settings = Settings(ice_servers=tuple(IceServer(url=url) for url in servers), relay_server=relay)
    assert sorted(server.url for server in server_ice_servers(settings)) == sorted(chosen)


def test_the_server_makes_credentials_for_itself_too() -> None:
    (own,) = server_ice_servers(turn_settings("turn:a.example", relay_server=True), at)
    assert own.username == "1700043200:server"


@pytest.mark.parametrize(
    "values",
    [
        {"turn_urls": ["turn:a.example"]},
        {"turn_secret": "x"},
        {"turn_urls": ["stun:a.example"], "turn_secret": "x"},
        {"turn_urls": ["turn:a.example\r\nX: y"], "turn_secret": "x"},
        {"turn_urls": ['turn:a"b'], "turn_secret": "x"},
    ],
)
def test_half_a_turn_server_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(values)


def test_the_secret_shows_nowhere() -> None:
    settings = turn_settings("turn:a.example")
    assert SECRET not in repr(settings)
    assert SECRET not in str(ice_links(client_ice_servers(settings, "s1")))


async def test_credentials_are_told_in_link_headers_of_each_answer(avatars: Path) -> None:
    settings = turn_settings("turn:a.example", default_avatar="fake")
    app = create_app(settings, EngineCast(lambda folder: FakeMouth(), "fake"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test") as http,
    ):
        opened = (await http.post("/v1/sessions")).json()
        link = (await http.options(opened["whep"])).headers["Link"]
        assert re.fullmatch(
            r'<turn:a\.example>; rel="ice-server"; username="\d+:' + re.escape(opened["id"]) + '"; '
            r'credential="[\w+/=]{28}"; credential-type="password"',
            link,
        )


# A real TURN server


class Coturn:
    """coturn on loopback with a shared secret, its log read."""

    def __init__(self, port: int, process: asyncio.subprocess.Process) -> None:
        self.url = f"turn:127.0.0.1:{port}?transport=udp"
        self.log: list[str] = []
        self._process = process
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            self.log.append(line.decode(errors="replace").strip())

    def says(self, *words: str) -> int:
        """How many lines of the log have all these words."""
        return sum(all(word in line for word in words) for line in self.log)

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        await self._reader


@pytest.fixture
async def coturn(tmp_path: Path) -> AsyncIterator[Coturn]:
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("coturn is not installed; install it (Debian: apt install coturn) to test relays")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "turnserver.conf"
    config.write_text(
        f"""listening-ip=127.0.0.1
relay-ip=127.0.0.1
listening-port={port}
use-auth-secret
static-auth-secret={SECRET}
realm=koubo.test
allow-loopback-peers
fingerprint
no-cli
no-tls
no-dtls
verbose
log-file=stdout
simple-log
pidfile={tmp_path / "turnserver.pid"}
userdb={tmp_path / "turndb"}
"""
    )
    process = await asyncio.create_subprocess_exec(
        program,
        "-c",
        str(config),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    server = Coturn(port, process)
    try:
        await eventually(lambda: server.says("IPv4. UDP listener opened") > 0)
        yield server
    finally:
        await server.stop()


def told_server(link: str) -> RTCIceServer:
    """The ICE server of a Link header, as a client reads it."""
    found = re.fullmatch(r'<([^>]+)>; rel="ice-server"; username="(.+)"; credential="(.+)"; .*', link)
    assert found
    return RTCIceServer(*found.groups())


async def watch_through(http: httpx.AsyncClient, whep: str, server: RTCIceServer) -> Watcher:
    watcher = Watcher(relay=server)
    await watcher.connect(exchange(http, whep))
    return watcher


def candidate_types(watcher: Watcher) -> set[str]:
    (media, *_) = SessionDescription.parse(watcher.pc.localDescription.sdp).media
    return {candidate.type for candidate in media.ice_candidates}


async def test_a_viewer_that_only_a_relay_reaches_gets_pictures_and_sound(
    avatars: Path, coturn: Coturn
) -> None:
    app = create_app(
        turn_settings(coturn.url, default_avatar="fake"), EngineCast(lambda folder: FakeMouth(), "fake")
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test") as http,
    ):
        whep = (await http.post("/v1/sessions")).json()["whep"]
        server = told_server((await http.options(whep)).headers["Link"])
        watcher = await watch_through(http, whep, server)
        recorder = Recorder(watcher)
        assert candidate_types(watcher) == {"relay"}
        await recorder.until(50)
        assert len(recorder.sounds) > 50
        await recorder.stop()
        await watcher.close()
    assert coturn.says("ALLOCATE processed, success", str(server.username)) == 1


async def test_a_server_that_nobody_can_reach_relays_its_own_media(avatars: Path, coturn: Coturn) -> None:
    settings = turn_settings(coturn.url, default_avatar="fake", relay_server=True)
    app = create_app(settings, EngineCast(lambda folder: FakeMouth(), "fake"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test") as http,
    ):
        whep = (await http.post("/v1/sessions")).json()["whep"]
        answers: list[str] = []

        async def exchange_relays_only(offer: str) -> str:
            answer = await exchange(http, whep)(offer)
            # As if the server had no other address.
            kept = [line for line in answer.split("\r\n") if " typ host" not in line]
            answers.append("\r\n".join(kept))
            return answers[0]

        watcher = Watcher()
        await watcher.connect(exchange_relays_only)
        assert " typ relay" in answers[0]
        recorder = Recorder(watcher)
        await recorder.until(25)
        await recorder.stop()
        await watcher.close()
    assert coturn.says("ALLOCATE processed, success", ":server>") == 1


@pytest.mark.parametrize("wrong", ["expired", "forged"])
async def test_coturn_refuses_credentials_that_we_did_not_make(
    avatars: Path, coturn: Coturn, wrong: str
) -> None:
    if wrong == "expired":
        username, password = turn_credentials(SECRET, "s", 1_600_000_000)
    else:
        username, password = turn_credentials("another secret", "s", 4_000_000_000)
    watcher = Watcher(relay=RTCIceServer(coturn.url, username, password))
    await watcher.pc.setLocalDescription()
    assert candidate_types(watcher) == set()
    await watcher.close()
    assert coturn.says("ALLOCATE processed, success") == 0
