"""SRT: MPEG-TS to a listener, or to whoever calls."""

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from streaming.address_policy import redact
from streaming.errors import Unprocessable
from streaming.outlets.base import Assignment, Outlet
from streaming.outlets.errors import OutletError
from streaming.outlets.muxing import MPEG_TS, MuxedOutlet
from streaming.outlets.secrets import hide
from streaming.outlets.srt_socket import load_srt
from streaming.outlets.wire import Job

_NUMBERS = {"latency": range(20, 30_001), "pbkeylen": (16, 24, 32)}
_MODES = ("caller", "listener")
_PASSPHRASE = range(10, 80)
_STREAMID_MOST = 512


def open_srt(given: Assignment) -> Outlet:
    """Sends to srt://host:port with the options mode, latency (ms), streamid, passphrase and pbkeylen.

    Raises Unprocessable for other options, MissingToolError without libsrt.
    """
    options = _options(given.url)
    load_srt()

    async def job(keyframe: bytes, audio_config: bytes) -> Job:
        target = await given.check(given.url)
        where = {"address": str(target.addresses[0]), "port": str(target.port)}
        return Job(
            "mpegts", "srt", "", options | where, MPEG_TS, keyframe=keyframe, audio_config=audio_config
        )

    def explain(reason: str) -> OutletError:
        said = hide(reason, given.url, None)
        if options["mode"] == "listener":
            return OutletError(f"The connection of the caller to {redact(given.url)} ended ({said}).")
        return OutletError(
            f"The SRT listener {redact(given.url)} does not take the stream ({said}); "
            "check its address, stream id and passphrase."
        )

    return MuxedOutlet(given.hub, job, explain, patient=options["mode"] == "listener")


def _options(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    if parts.port is None:
        raise Unprocessable("An SRT address needs a port, as in srt://host:9000.")
    options = {"mode": "caller"} | dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = options.keys() - {"mode", "streamid", "passphrase", *_NUMBERS}
    if unknown:
        raise Unprocessable(
            f"An SRT address takes no option {sorted(unknown)[0]!r} here; it takes mode, latency (in ms), "
            "streamid, passphrase and pbkeylen."
        )
    if options["mode"] not in _MODES:
        raise Unprocessable("The mode of an SRT address is caller or listener.")
    for name, allowed in _NUMBERS.items():
        if name in options and not (options[name].isdecimal() and int(options[name]) in allowed):
            raise Unprocessable(f"The {name} of an SRT address must be {_span(allowed)}.")
    if "passphrase" in options and len(options["passphrase"]) not in _PASSPHRASE:
        raise Unprocessable("The passphrase of an SRT address must have 10 to 79 characters.")
    if len(options.get("streamid", "")) > _STREAMID_MOST:
        raise Unprocessable(f"The streamid of an SRT address has at most {_STREAMID_MOST} characters.")
    return options


def _span(allowed: Sequence[int]) -> str:
    if isinstance(allowed, range):
        return f"a whole number from {allowed[0]} to {allowed[-1]}"
    return "one of " + ", ".join(map(str, allowed))
