"""MPEG-TS in plain UDP datagrams, for a program in the same network."""

from urllib.parse import urlsplit

from streaming.address_policy import redact
from streaming.errors import Unprocessable
from streaming.outlets.base import Assignment, Outlet
from streaming.outlets.errors import OutletError
from streaming.outlets.muxing import MPEG_TS, MuxedOutlet
from streaming.outlets.wire import Job


def open_udp(given: Assignment) -> Outlet:
    """Sends to udp://host:port; nobody need listen. Raises Unprocessable without a port."""
    if urlsplit(given.url).port is None:
        raise Unprocessable("A UDP address needs a port, as in udp://host:5000.")

    async def job(keyframe: bytes, audio_config: bytes) -> Job:
        target = await given.check(given.url)
        where = {"address": str(target.addresses[0]), "port": str(target.port)}
        return Job("mpegts", "udp", "", where, MPEG_TS, keyframe=keyframe, audio_config=audio_config)

    def explain(reason: str) -> OutletError:
        return OutletError(f"Sending to {redact(given.url)} failed ({reason}); check the address.")

    return MuxedOutlet(given.hub, job, explain)
