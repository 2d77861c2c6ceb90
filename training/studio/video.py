"""Rendered pictures and their sound as one MP4 (PyAV, H.264 and AAC)."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, Samples, to_pcm16


def write_video(frames: Sequence[Path], samples: Samples | None, output: Path) -> None:
    """Writes JPEG `frames` at 25 fps and optional 16 kHz sound; complete or not at all."""
    partial = output.with_name(output.stem + ".part.mp4")
    output.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(partial), "w") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE, options={"crf": "14", "preset": "medium"})
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=SAMPLE_RATE) if samples is not None else None
        for index, path in enumerate(frames):
            picture = _read(path)
            video.width, video.height = picture.width, picture.height
            picture = picture.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
            picture.pts, picture.time_base = index, Fraction(1, FRAME_RATE)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if sound is not None and samples is not None:
            frame = av.AudioFrame.from_ndarray(to_pcm16(samples)[np.newaxis], format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, 0
            frame.time_base = Fraction(1, SAMPLE_RATE)
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    partial.replace(output)


def _read(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as container:
        frame = next(iter(container.decode(video=0)))
        return av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")
