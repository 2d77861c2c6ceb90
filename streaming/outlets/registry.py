"""Every kind of outlet, by the scheme of its address."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from streaming.outlets.base import Assignment, Outlet
from streaming.outlets.camera import open_camera
from streaming.outlets.hls import open_hls
from streaming.outlets.mp4 import open_mp4
from streaming.outlets.rtmp import open_rtmp
from streaming.outlets.srt import open_srt
from streaming.outlets.udp import open_udp
from streaming.outlets.whip import open_whip

Kind: TypeAlias = Literal["whip", "rtmp", "srt", "udp", "hls", "mp4", "camera"]
Open: TypeAlias = Callable[[Assignment], Outlet]
"""Makes an outlet, without connecting. Raises Unprocessable, or MissingToolError."""

OUTLETS: dict[str, tuple[Kind, Open]] = {
    "http": ("whip", open_whip),
    "https": ("whip", open_whip),
    "rtmp": ("rtmp", open_rtmp),
    "rtmps": ("rtmp", open_rtmp),
    "srt": ("srt", open_srt),
    "udp": ("udp", open_udp),
    "hls": ("hls", open_hls),
    "mp4": ("mp4", open_mp4),
    "camera": ("camera", open_camera),
}

LOCAL = frozenset({"hls", "mp4", "camera"})
"""Schemes that lead to no host."""
