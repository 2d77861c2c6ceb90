"""RTMP and RTMPS: FLV to a live platform."""

import os
import ssl

import certifi

from streaming.address_policy import redact
from streaming.outlets.base import Assignment, Outlet
from streaming.outlets.errors import OutletError
from streaming.outlets.muxing import MuxedOutlet
from streaming.outlets.secrets import hide
from streaming.outlets.wire import Job

_TIMEOUT_US = 10_000_000


def open_rtmp(given: Assignment) -> Outlet:
    """Publishes to rtmp(s)://host/app/key, the stream key being the end of the path."""

    async def job(keyframe: bytes, audio_config: bytes) -> Job:
        target = await given.check(given.url)
        # Platforms tell their tenants apart by the name in tcUrl, also when an address is connected to.
        options = {
            "flvflags": "no_duration_filesize",
            "rw_timeout": str(_TIMEOUT_US),
            "rtmp_tcurl": given.url.rpartition("/")[0],
        }
        if target.scheme == "rtmps":
            options |= {"tls_verify": "1", "ca_file": _authorities()}
        address = given.url if target.scheme == "rtmps" else target.pinned_url
        return Job("flv", "rtmp", address, options, keyframe=keyframe, audio_config=audio_config)

    def explain(reason: str) -> OutletError:
        return OutletError(
            f"The server {redact(given.url)} cannot be published to "
            f"({hide(reason, given.url, given.token)}); check the address and the stream key."
        )

    return MuxedOutlet(given.hub, job, explain)


def _authorities() -> str:
    """The file of certificates to trust: SSL_CERT_FILE as usual, else Mozilla's."""
    return os.environ.get(ssl.get_default_verify_paths().openssl_cafile_env) or certifi.where()
