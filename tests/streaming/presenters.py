"""Fake presenters that can be told apart: other colours, other sizes, more clips."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.anchor.card import Clip, ClipKind, read_card, write_card
from engine.live import LiveAvatar, Tick
from engine.picture.fit import Fit, Size
from engine.picture.video import VideoWriter
from engine.picture.yuv import planes, to_i420
from streaming.cast import Presenter
from tests.fakes import FRAME_SIZE, FRAMES, make_avatar, paint_face

CLIP_SHADE = 0.75
"""How dark the extra clips of a presenter are beside its idle one."""


def make_presenter(
    folder: Path,
    name: str,
    *,
    shade: float = 1.0,
    size: Size = FRAME_SIZE,
    clips: dict[str, ClipKind] | None = None,
) -> Path:
    """A package whose pictures are `shade` times as bright as the fake's, stretched to `size`, with more
    `clips` by name.
    """
    package = make_avatar(folder, name)
    card = read_card(package)
    fit = Fit(FRAME_SIZE, size)
    idle = replace(card.idle, crops=tuple(map(fit.crop, card.idle.crops)))
    more = [
        replace(idle, name=clip, kind=kind, file=f"clips/{clip}.mp4", loop="once")
        for clip, kind in (clips or {}).items()
    ]
    write_film(package, idle, fit, shade)
    for clip in more:
        write_film(package, clip, fit, shade * CLIP_SHADE)
    write_card(package, replace(card, size=size, clips=(idle, *more)))
    return package


def write_film(package: Path, clip: Clip, fit: Fit, shade: float) -> None:
    """The pictures of a clip: the fake's face in a canvas, shaded."""
    (package / clip.file).parent.mkdir(exist_ok=True)
    with VideoWriter(package / clip.file, fit.canvas) as video:
        for number in range(FRAMES):
            face = (paint_face(*FRAME_SIZE, seed=number) * shade).astype(np.uint8)
            picture = to_i420(face)
            video.write(fit.frame(picture, fit.backdrop(picture)))


def add_matte(package: Path) -> None:
    """Give a package of one clip a matte: its left half is wall, its right half presenter."""
    card = read_card(package)
    width, height = card.size
    grey = np.zeros((height, width, 3), np.uint8)
    grey[:, width // 2 :] = 255
    with VideoWriter(package / card.idle.matte_file, card.size) as video:
        for _ in range(card.frames):
            video.write(to_i420(grey))


def brightness(tick: Tick) -> float:
    """Mean luma in the middle of a picture, above the mouth."""
    luma = planes(tick.picture)[0]
    height, width = luma.shape
    return float(luma[height // 4 : height // 2, width * 2 // 5 : width * 3 // 5].mean())


def next_tick(presenter: Presenter) -> Tick:
    """The next tick of a real presenter, made in this thread."""
    assert isinstance(presenter, LiveAvatar)
    return presenter.tick()
