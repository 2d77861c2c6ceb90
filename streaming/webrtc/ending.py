"""Ending a WebRTC connection so that nothing of it stays behind."""

import asyncio

from aiortc import RTCPeerConnection

_SETTLE_S = 0.05
"""aioice looks at the result of its checks every 20 ms; the last step of a handshake takes less."""


async def close_connection(pc: RTCPeerConnection) -> None:
    """Close a connection in whatever state it is; closing it again does nothing.

    A connection that is still being made goes on after aiortc has closed it: aioice starts its endless
    consent checks (RFC 7675) when its candidate checks succeed, and a handshake that ends just then starts
    receivers and senders that nobody would stop. Such a connection is closed once more a moment later.
    """
    transceivers = pc.getTransceivers()
    transports = {transceiver.receiver.transport for transceiver in transceivers}
    unsettled = any(transport.state in ("new", "connecting") for transport in transports)
    checking = [transport.transport for transport in transports if transport.transport.state == "checking"]
    await pc.close()
    if not unsettled:
        return
    await asyncio.sleep(_SETTLE_S)
    for transceiver in transceivers:
        await transceiver.stop()
    for transport in transports:
        await transport.stop()
    for ice in checking:
        await ice._connection.close()
