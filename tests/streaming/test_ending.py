"""Connections that end while they are still being made."""

import asyncio

import pytest
from aiortc import RTCPeerConnection
from aiortc.mediastreams import AudioStreamTrack

from streaming.webrtc.ending import close_connection
from tests.streaming.conftest import no_task_is_left


async def being_made() -> tuple[RTCPeerConnection, RTCPeerConnection]:
    """A sender of sound and the receiver that has just answered it."""
    sender, receiver = RTCPeerConnection(), RTCPeerConnection()
    sender.addTransceiver(AudioStreamTrack(), direction="sendonly")
    await sender.setLocalDescription(await sender.createOffer())
    await receiver.setRemoteDescription(sender.localDescription)
    await receiver.setLocalDescription(await receiver.createAnswer())
    await sender.setRemoteDescription(receiver.localDescription)
    return sender, receiver


@pytest.mark.parametrize("turns", range(0, 24, 2))
async def test_nothing_stays_of_a_connection_closed_in_its_handshake(turns: int) -> None:
    before = asyncio.all_tasks()
    sender, receiver = await being_made()
    transport = receiver.getTransceivers()[0].receiver.transport
    begun = asyncio.Event()
    transport.once("statechange", begun.set)
    await asyncio.wait_for(begun.wait(), 10)
    for _ in range(turns):
        await asyncio.sleep(0)
    await close_connection(receiver)
    await close_connection(sender)
    await no_task_is_left(before)


async def test_nothing_stays_of_a_connection_closed_at_once_and_twice() -> None:
    before = asyncio.all_tasks()
    for connection in await being_made():
        await close_connection(connection)
        await close_connection(connection)
    await no_task_is_left(before)
