"""WHIP to an endpoint that answers with aiortc: what RFC 9725 asks of a client."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable

import httpx
import numpy as np
import pytest
from aiortc import RTCIceServer, RTCPeerConnection

from streaming.address_policy import Target
from streaming.errors import Unprocessable
from streaming.outlets.base import Assignment
from streaming.outlets.errors import OutletError
from streaming.outlets.whip import WhipOutlet, open_whip
from streaming.outlets.whip_client import WhipClient, read_ice_servers
from streaming.webrtc.ending import close_connection
from tests.streaming.conftest import eventually
from tests.streaming.outlets.conftest import Ear, allow, free_port, stop
from tests.streaming.outlets.station import Station
from tests.streaming.outlets.test_muxed_outlets import begin
from tests.streaming.outlets.whip_door import Door, open_door

Assign = Callable[..., Assignment]


@pytest.fixture
async def station() -> AsyncIterator[Station]:
    """At the pace of life: senders and receivers look at their clocks."""
    async with Station() as running:
        yield running


async def test_pictures_and_sound_arrive_together_and_it_leaves_cleanly(
    station: Station, assign: Assign
) -> None:
    door = Door("secret")
    async with open_door(door, free_port()) as base:
        station.note_pictures()
        task, ear = begin(open_whip(assign(f"{base}/whip/here", "secret")))
        await eventually(lambda: len(door.pictures) > 90, 20)
        assert await stop(task) < 3
        slots = [slot for _, slot in door.pictures]
        assert slots == station.made_between(slots[0], slots[-1])
        assert len(door.offsets) >= 2
        assert abs(float(np.median(door.offsets))) <= 0.04, door.offsets
        assert door.mime_types == ["H264/90000"]
        assert door.asked == [
            ("OPTIONS /whip/here", "Bearer secret"),
            ("POST /whip/here", "Bearer secret"),
            ("DELETE /session/peer0", "Bearer secret"),
        ]
        assert ear.lives == 1
        assert ear.bytes > 5_000


@pytest.mark.parametrize("codec", ["h264", "vp8"])
async def test_the_chosen_codec_is_sent(station: Station, assign: Assign, codec: str) -> None:
    door = Door()
    async with open_door(door, free_port()) as base:
        task, _ = begin(open_whip(assign(f"{base}/whip/here", codec=codec)))
        await eventually(lambda: len(door.pictures) > 10, 20)
        await stop(task)
    assert door.mime_types[0].lower() == f"{codec}/90000"


async def test_the_endpoint_chooses_among_both(station: Station, assign: Assign) -> None:
    door = Door(codec="video/vp8")
    async with open_door(door, free_port()) as base:
        task, _ = begin(open_whip(assign(f"{base}/whip/here")))
        await eventually(lambda: len(door.pictures) > 10, 20)
        await stop(task)
    assert door.mime_types == ["VP8/90000"]


async def test_a_redirect_is_followed_with_the_token_on_the_same_origin(
    station: Station, assign: Assign
) -> None:
    door = Door("secret")
    async with open_door(door, free_port()) as base:
        task, _ = begin(open_whip(assign(f"{base}/old/relative", "secret")))
        await eventually(lambda: len(door.pictures) > 2, 20)
        await stop(task)
    assert ("POST /whip/here", "Bearer secret") in door.asked
    assert door.asked[-1] == ("DELETE /session/peer0", "Bearer secret")


async def test_a_token_does_not_follow_a_redirect_to_another_origin() -> None:
    door = Door("secret")
    async with open_door(door, free_port()) as there, httpx.AsyncClient() as http:
        moving = Door(moved=f"{there}/whip/here")
        async with open_door(moving, free_port()) as here:
            client = WhipClient(f"{here}/old/away", "secret", http, allow)
            with pytest.raises(OutletError, match="refuses the token"):
                await client.post("v=0")
    assert door.asked == [("POST /whip/here", None)]


async def test_a_redirect_into_a_forbidden_network_is_refused(station: Station, assign: Assign) -> None:
    door = Door()

    async def only_first(url: str) -> Target:
        if "/old/" not in url:
            raise Unprocessable("The address leads to where outlets may not send.")
        return await allow(url)

    async with open_door(door, free_port()) as base:
        with pytest.raises(OutletError, match="may not send") as caught:
            await open_whip(assign(f"{base}/old/relative", check=only_first)).run(Ear())
    assert caught.value.final
    assert not door.peers


async def test_redirects_in_a_circle_end(station: Station, assign: Assign) -> None:
    async with open_door(Door(), free_port()) as base:
        with pytest.raises(OutletError, match="circle"):
            await open_whip(assign(f"{base}/old/circle")).run(Ear())


async def test_a_wrong_token_is_final_and_not_told(station: Station, assign: Assign) -> None:
    async with open_door(Door("right"), free_port()) as base:
        with pytest.raises(OutletError, match=r"refuses the token \(401\)") as caught:
            await open_whip(assign(f"{base}/whip/here", "wrong-secret")).run(Ear())
    assert caught.value.final
    assert "wrong-secret" not in str(caught.value)


@pytest.mark.parametrize(("path", "word", "final"), [("nothing", "404", False), ("session/x", "405", True)])
async def test_what_is_no_endpoint_is_told(
    station: Station, assign: Assign, path: str, word: str, final: bool
) -> None:
    async with open_door(Door(), free_port()) as base:
        with pytest.raises(OutletError, match=word) as caught:
            await open_whip(assign(f"{base}/{path}")).run(Ear())
    assert caught.value.final is final


async def test_nobody_there_may_come_later(station: Station, assign: Assign) -> None:
    url = f"http://127.0.0.1:{free_port()}/whip/hidden-name"
    with pytest.raises(OutletError, match="cannot be reached") as caught:
        await open_whip(assign(url)).run(Ear())
    assert not caught.value.final
    assert "hidden-name" not in str(caught.value)


async def test_an_endpoint_that_says_nothing_is_left_within_three_seconds(
    station: Station, assign: Assign
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        task, _ = begin(open_whip(assign(f"http://127.0.0.1:{mute.getsockname()[1]}/whip")))
        await asyncio.sleep(0.5)
        assert await stop(task) < 3


@pytest.mark.slow
async def test_a_killed_endpoint_is_noticed(station: Station, assign: Assign) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.streaming.outlets.whip_door", str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        await eventually(lambda: not _refused(port), 15)
        task, ear = begin(WhipOutlet(assign(f"http://127.0.0.1:{port}/whip/here"), silent_s=3))
        async with asyncio.timeout(15):
            await ear.on_live.wait()
        await asyncio.sleep(2)
        process.kill()
        with pytest.raises(OutletError, match="reported nothing"):
            async with asyncio.timeout(10):
                await task
        assert max(station.lateness) < 0.5
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_ice_servers_of_the_endpoint_are_used(station: Station, assign: Assign) -> None:
    door = Door(links=['<stun:127.0.0.1:9>; rel="ice-server"'])
    async with open_door(door, free_port()) as base, httpx.AsyncClient() as http:
        client = WhipClient(f"{base}/whip/here", None, http, allow)
        assert await client.ice_servers() == (RTCIceServer("stun:127.0.0.1:9"),)


async def test_leaving_does_not_wait_for_an_endpoint_that_has_gone() -> None:
    door = Door()

    async def slow_afterwards(url: str) -> Target:
        if "session" in url:
            await asyncio.sleep(60)
        return await allow(url)

    async with open_door(door, free_port()) as base, httpx.AsyncClient() as http:
        client = WhipClient(f"{base}/whip/here", None, http, slow_afterwards)
        publisher = RTCPeerConnection()
        publisher.addTransceiver("video", direction="sendonly")
        await publisher.setLocalDescription()
        await client.post(publisher.localDescription.sdp)
        began = asyncio.get_running_loop().time()
        await client.delete()
        assert asyncio.get_running_loop().time() - began < 3
        await close_connection(publisher)


@pytest.mark.parametrize(
    ("links", "servers"),
    [
        ([], ()),
        (['<https://example.com>; rel="next"'], ()),
        (['<http://example.com>; rel="ice-server"'], ()),
        (
            [
                '<stun:a.example>; rel="ice-server"',
                '<turn:b.example?transport=udp>; rel=ice-server; username="u\\"1"; credential="a, b; c"; '
                'credential-type="password"',
            ],
            (RTCIceServer("stun:a.example"), RTCIceServer("turn:b.example?transport=udp", 'u"1', "a, b; c")),
        ),
        (
            ['<stun:a.example>; rel="ice-server", <stun:b.example>; rel="ice-server"'],
            (RTCIceServer("stun:a.example"), RTCIceServer("stun:b.example")),
        ),
    ],
)
def test_link_headers(links: list[str], servers: tuple[RTCIceServer, ...]) -> None:
    assert read_ice_servers(links) == servers
