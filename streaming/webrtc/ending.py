"""Ending a WebRTC connection so that nothing of it stays behind."""

import asyncio

from aiortc import RTCPeerConnection

_ICE_STEP_S = 0.05
"""aioice looks at the result of its checks every 20 ms."""


async def close_connection(pc: RTCPeerConnection) -> None:
    """Close a connection in whatever state it is; closing it again does nothing.

    aioice starts its endless consent checks (RFC 7675) when its candidate checks succeed, even if it has been
    closed in the meantime; closing it once more afterwards ends them.
    """
    transports = {transceiver.receiver.transport.transport for transceiver in pc.getTransceivers()}
    checking = [transport for transport in transports if transport.state == "checking"]
    await pc.close()
    if checking:
        await asyncio.sleep(_ICE_STEP_S)
        for transport in checking:
            await transport._connection.close()
