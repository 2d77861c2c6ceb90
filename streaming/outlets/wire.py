"""What the server tells a muxing process, and what it hears back."""

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import BinaryIO

_HEAD = struct.Struct("!BqII")
_VIDEO, _KEYFRAME = 1, 2


@dataclass(frozen=True, slots=True)
class Placed:
    """A packet with its time: pictures count 1/25 s, sound 1/48000 s, both from the first picture on."""

    data: bytes
    video: bool
    keyframe: bool
    pts: int
    duration: int


@dataclass(frozen=True, slots=True)
class Job:
    """One connection of a muxing process.

    `format` is FFmpeg's name of the container; `sink`, a key of `worker.SINKS`, what carries it away to
    `target`, with `options`. `muxer_options` and `metadata` are the container's. `keyframe` is an H.264
    access unit with SPS and PPS, `audio_config` an AudioSpecificConfig.
    """

    format: str
    sink: str
    target: str
    options: dict[str, str] = field(default_factory=dict)
    muxer_options: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    keyframe: bytes = b""
    audio_config: bytes = b""

    def to_bytes(self) -> bytes:
        """One line of JSON."""
        fields = asdict(self)
        for name in ("keyframe", "audio_config"):
            fields[name] = base64.b64encode(fields[name]).decode()
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def read(cls, stream: BinaryIO) -> "Job":
        """The job at the beginning of a stream."""
        fields = json.loads(stream.readline())
        for name in ("keyframe", "audio_config"):
            fields[name] = base64.b64decode(fields[name])
        return cls(**fields)


def pack(packet: Placed) -> bytes:
    """A packet, ready to be written."""
    flags = _VIDEO * packet.video | _KEYFRAME * packet.keyframe
    return _HEAD.pack(flags, packet.pts, packet.duration, len(packet.data)) + packet.data


def read_packets(stream: BinaryIO) -> Iterator[Placed]:
    """Every packet up to the end of a stream."""
    while len(head := stream.read(_HEAD.size)) == _HEAD.size:
        flags, pts, duration, size = _HEAD.unpack(head)
        data = stream.read(size)
        if len(data) < size:
            return
        yield Placed(data, bool(flags & _VIDEO), bool(flags & _KEYFRAME), pts, duration)
