"""`koubo bench encode`: what other options of x264 cost and what they do to the picture.

A presenter is drawn speaking, once; each variant encodes the same pictures, one after another as a live
session does, in one thread. Processor time is counted, so that a busy machine changes little. The quality is
that of the decoded pictures against those that went in: of the whole picture and of the square of the mouth.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import AvatarCard
from engine.anchor.package import Avatar
from engine.evaluate.pixels import psnr, ssim
from engine.live import LiveAvatar
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.yuv import Frame
from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, Samples
from streaming.encoding.base import EncodedPicture
from streaming.encoding.libav import LibavPictureEncoder
from streaming.encoding.x264 import x264_options
from streaming.pacing import percentiles

SERVED = "as served"


def _variant(preset: str, *parameters: str) -> dict[str, str]:
    return {"preset": preset, "x264-params": ":".join(parameters)}


VARIANTS: Mapping[str, Mapping[str, str]] = {
    SERVED: {},
    "as served, finer steps": {"qmin": "0"},
    "as served, coarser steps": {"qmin": "22"},
    "veryfast": _variant("veryfast"),
    "veryfast, no mbtree": _variant("veryfast", "mbtree=0"),
    "veryfast, intra-refresh": _variant("veryfast", "intra-refresh=1"),
    "veryfast, no psy": _variant("veryfast", "psy=0"),
    "veryfast, no aq": _variant("veryfast", "aq-mode=0"),
    "superfast": _variant("superfast"),
    "superfast, little aq": _variant("superfast", "aq-strength=0.3"),
    "superfast, no aq": _variant("superfast", "aq-mode=0"),
    "superfast, no aq, blocks of 16": _variant("superfast", "aq-mode=0", "partitions=none"),
    "superfast, no aq, subme 0": _variant("superfast", "aq-mode=0", "subme=0"),
    "superfast, no aq, subme 0, no deblock": _variant("superfast", "aq-mode=0", "subme=0", "no-deblock=1"),
    "ultrafast": _variant("ultrafast"),
    "ultrafast, deblock": _variant("ultrafast", "deblock=0,0"),
    "ultrafast, deblock, subme 1": _variant("ultrafast", "deblock=0,0", "subme=1"),
}
"""Options over those of `x264_options`, by what people call them; SERVED is what the server uses."""

_SSIM_STRIDE = 5
_KEY_STRIDE = 2 * FRAME_RATE
"""Every so manieth picture is a key frame, as with an outlet."""


@dataclass(frozen=True, slots=True)
class Square:
    """The part of a picture in which the mouth is: rows and columns of luma."""

    rows: slice
    columns: slice


def bench_encode(
    pictures: Sequence[Frame],
    square: Square,
    kbps: int,
    *,
    variants: Mapping[str, Mapping[str, str]] = VARIANTS,
    rounds: int = 3,
    tell: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> dict[str, Any]:
    """Measure each variant on I420 `pictures` at `kbps`; `tell(done, total, name)` hears how far it is.

    Rounds interleave the variants, so that a machine that slows down slows all of them; each picture counts
    with its fastest round. Returns {"pictures", "size", "kbps", "variants": {name: {"encode_ms" (percentiles
    of processor milliseconds a picture), "mean_ms", "kbps", "keyframe_kb", "psnr_db", "mouth_psnr_db",
    "ssim", "mouth_ssim"}}}.
    """
    height, width = len(pictures[0]) * 2 // 3, pictures[0].shape[1]
    spent: dict[str, list[list[float]]] = {name: [] for name in variants}
    streams: dict[str, list[EncodedPicture]] = {}
    for number in range(rounds):
        for place, (name, options) in enumerate(variants.items()):
            tell(number * len(variants) + place, (rounds + 1) * len(variants), name)
            times, streams[name] = _encode(pictures, (width, height), kbps, options)
            spent[name].append(times)
    found: dict[str, Any] = {}
    for place, name in enumerate(variants):
        tell(rounds * len(variants) + place, (rounds + 1) * len(variants), f"{name}: quality")
        best = [1000 * min(times) for times in zip(*spent[name], strict=True)]
        found[name] = (
            {"encode_ms": percentiles(best), "mean_ms": round(float(np.mean(best)), 3)}
            | _sizes(streams[name])
            | _quality(pictures, streams[name], square)
        )
    return {"pictures": len(pictures), "size": f"{width}x{height}", "target_kbps": kbps, "variants": found}


def _encode(
    pictures: Sequence[Frame], size: tuple[int, int], kbps: int, options: Mapping[str, str]
) -> tuple[list[float], list[EncodedPicture]]:
    encoder = LibavPictureEncoder(
        "libx264", size, kbps, lambda most: {**x264_options(most), **options}, adaptable=True
    )
    times: list[float] = []
    made: list[EncodedPicture] = []
    for slot, picture in enumerate(pictures):
        began = time.process_time()
        packet = encoder.encode(picture, slot, kbps, keyframe=slot % _KEY_STRIDE == 0)
        times.append(time.process_time() - began)
        assert packet is not None
        made.append(packet)
    return times, made


def _sizes(stream: Sequence[EncodedPicture]) -> dict[str, float]:
    seconds = len(stream) / FRAME_RATE
    keys = [len(one.data) for one in stream if one.keyframe]
    return {
        "sent_kbps": round(sum(len(one.data) for one in stream) * 8 / 1000 / seconds),
        "keyframe_kb": round(float(np.mean(keys)) / 1000, 1),
    }


def _quality(pictures: Sequence[Frame], stream: Sequence[EncodedPicture], square: Square) -> dict[str, float]:
    whole: list[float] = []
    mouth: list[float] = []
    alike: list[float] = []
    alike_mouth: list[float] = []
    for number, (picture, decoded) in enumerate(zip(pictures, _decoded(stream), strict=True)):
        before = picture[: len(picture) * 2 // 3].astype(np.float64)
        after = decoded.astype(np.float64)
        whole.append(psnr(before, after))
        mouth.append(psnr(before[square.rows, square.columns], after[square.rows, square.columns]))
        if number % _SSIM_STRIDE == 0:
            alike.append(ssim(before, after))
            alike_mouth.append(ssim(before[square.rows, square.columns], after[square.rows, square.columns]))
    return {
        "psnr_db": round(float(np.mean(whole)), 2),
        "mouth_psnr_db": round(float(np.mean(mouth)), 2),
        "worst_mouth_psnr_db": round(float(np.percentile(mouth, 1)), 2),
        "ssim": round(float(np.mean(alike)), 4),
        "mouth_ssim": round(float(np.mean(alike_mouth)), 4),
    }


def _decoded(stream: Sequence[EncodedPicture]) -> Iterator[NDArray[np.uint8]]:
    """The luma of each picture, as a receiver shows it."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    packets = [*(av.Packet(one.data) for one in stream), None]
    for packet in packets:
        for frame in decoder.decode(packet):
            picture = np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8)
            yield picture[: len(picture) * 2 // 3]


def speaking(avatar: Avatar, mouth: MouthRuntime, speech: Samples, seconds: float) -> list[Frame]:
    """So many seconds of I420 pictures of a presenter that says `speech`."""
    live = LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)
    live.push(np.resize(speech, round(seconds * SAMPLE_RATE)))
    live.finish()
    return [live.tick().picture.copy() for _ in range(round(seconds * FRAME_RATE))]


def mouth_square(card: AvatarCard) -> Square:
    """Where the mouth is in all pictures of a presenter: the mean crop, which the idle clip hardly leaves."""
    middle = np.array([(crop.cx, crop.cy) for crop in card.crops]).mean(axis=0)
    side = float(np.mean([crop.size for crop in card.crops]))
    left, top = np.maximum(0, np.floor(middle - side / 2)).astype(int)
    return Square(slice(top, top + round(side)), slice(left, left + round(side)))
