"""The viewer of benchmarks against the one that decodes: same pictures, same sound; holes are seen."""

import asyncio
import struct

import httpx
import numpy as np
import pytest

from engine.errors import KouboError
from engine.speech.audio import SAMPLE_RATE
from streaming.webrtc.client import ClipTrack, Watcher, publish
from streaming.webrtc.ending import close_connection
from streaming.webrtc.light import LightWatcher
from tests.fakes import speech_like
from tests.streaming.conftest import exchange


def packet(kind: int, number: int, stamp: int, size: int = 100) -> bytes:
    """The open part of an SRTP packet: RFC 3550 section 5.1."""
    return struct.pack("!BBHLL", 0x80, kind, number, stamp, 99).ljust(size, b"x")


async def test_it_sees_and_hears_what_a_player_does(http: httpx.AsyncClient, session: dict[str, str]) -> None:
    sender = await publish(ClipTrack(speech_like(1.0)), exchange(http, session["whip"]))
    player, light = Watcher(), LightWatcher()
    await player.connect(exchange(http, session["whep"]))
    await light.connect(exchange(http, session["whep"]))
    async with asyncio.timeout(20):
        await light.began.wait()
        shown = [await player.pictures.recv() for _ in range(60)]
        while len(light.arrived) < 50:
            await player.pictures.recv()
    heard = light.heard()
    assert light.holes == 0
    assert light.received > 10_000
    times = list(light.arrived)
    assert all(step % 3600 == 0 for step in np.diff(times))
    assert list(light.arrived.values()) == sorted(light.arrived.values())
    assert len(shown) == 60
    # Sound is laid out by its own time, 20 ms a packet, and is that of the microphone.
    places = [at for at, _ in heard]
    assert places[0] == 0
    assert all(step % 320 == 0 for step in np.diff(places))
    assert max(float(np.abs(part).max()) for _, part in heard) > 0.05
    assert sum(part.size for _, part in heard) > SAMPLE_RATE
    await close_connection(sender)
    await player.close()
    await light.close()


async def test_pictures_with_a_hole_do_not_count() -> None:
    watcher = LightWatcher()
    for number, (kind, stamp) in enumerate([(102, 0), (102 | 0x80, 0), (102, 3600), (102 | 0x80, 3600)]):
        watcher._take(packet(kind, 65534 + number & 0xFFFF, stamp))
    assert list(watcher.arrived) == [0, 3600]
    watcher._take(packet(102, 3, 7200))  # number 2 is missing
    watcher._take(packet(102 | 0x80, 4, 7200))
    watcher._take(packet(102 | 0x80, 5, 10800))
    assert list(watcher.arrived) == [0, 3600, 10800]
    assert watcher.holes == 1
    assert watcher.received == 700
    await watcher.close()


async def test_control_packets_and_others_go_to_aiortc() -> None:
    watcher = LightWatcher()
    passed: list[bytes] = []
    take = watcher._tapped(lambda data, address: passed.append(data))
    stun, dtls, rtcp = b"\x00\x01" + bytes(18), b"\x16\xfe\xfd", b"\x80\xc8" + bytes(20)
    for data in (stun, dtls, rtcp, packet(102 | 0x80, 1, 0)):
        take(data, ("127.0.0.1", 9))
    assert passed == [stun, dtls, rtcp]
    assert len(watcher.arrived) == 1
    await watcher.close()


async def test_the_codec_can_be_chosen(http: httpx.AsyncClient, session: dict[str, str]) -> None:
    watcher = LightWatcher("vp8")
    offers: list[str] = []
    post = exchange(http, session["whep"])

    async def noted(offer: str) -> str:
        offers.append(offer)
        return await post(offer)

    await watcher.connect(noted)
    assert "VP8" in offers[0]
    assert "H264" not in offers[0]
    await asyncio.wait_for(watcher.began.wait(), 10)
    await watcher.close()


async def test_another_aiortc_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = LightWatcher()
    monkeypatch.setattr(LightWatcher, "_transport", object())
    with pytest.raises(KouboError, match=r"requirements\.lock"):
        watcher._tap()
    await watcher.close()
