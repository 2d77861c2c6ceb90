"""One camera for a handful of pictures: framing, colours and sharpness drawn at random.

The discriminator must know a mouth in any light, from any camera, tracked by any tracker; the studio's
pictures alone are far too clean and too alike for that.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Crop, Picture
from training.loader import Random


@dataclass(frozen=True, slots=True)
class Variation:
    """shift: of the crop's centre, shares of its side; zoom: its side over the true one; turn: radians;
    mirror: left and right changed; levels: colour table (256, 3) or None; grey: share of colour taken away;
    blur: sigma in shares of the side; noise: standard deviation in levels of 255; tremble: of the crop from
    picture to picture, shares of its side.
    """

    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    turn: float = 0.0
    mirror: bool = False
    levels: NDArray[np.uint8] | None = None
    grey: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    tremble: float = 0.0
    grain: int = 0

    def crop(self, crop: Crop, random: Random | None) -> Crop:
        """Where this camera sees the square `crop`."""
        dx, dy = (share * crop.size for share in self.shift)
        if random is not None and self.tremble:
            dx, dy = (d + random.normal(0, self.tremble) * crop.size for d in (dx, dy))
        return replace(
            crop, cx=crop.cx + dx, cy=crop.cy + dy, size=crop.size * self.zoom, angle=crop.angle + self.turn
        )

    def moved(self, lips: list[float], margin: float) -> tuple[float, float]:
        """Lips given in [0, 1] of the stored square, in [0, 1] of the picture that this camera takes."""
        square = self.crop(Crop(0.5, 0.5, 1 / margin, 0.0), None)
        x, y = square.to_crop(np.array([lips], np.float32), 1)[0]
        return (1 - float(x) if self.mirror else float(x)), float(y)

    def seen(self, picture: Picture) -> Picture:
        """The cut picture through this camera's lens and sensor."""
        if self.mirror:
            picture = np.ascontiguousarray(picture[:, ::-1])
        if self.blur:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), self.blur * len(picture)), np.uint8)
        if self.levels is not None:
            picture = np.asarray(cv2.LUT(picture, self.levels[None]), np.uint8)
        if self.grey:
            plain = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            picture = np.asarray(cv2.addWeighted(picture, 1 - self.grey, plain, self.grey, 0), np.uint8)
        if self.noise:
            spread = np.random.default_rng(self.grain).normal(0, self.noise, picture.shape)
            picture = np.clip(picture + spread.astype(np.float32), 0, 255).astype(np.uint8)
        return picture


def draw_variation(random: Random) -> Variation:
    """A camera drawn at random, within what one studio sees."""
    return Variation(
        shift=(float(random.normal(0, 0.015)), float(random.normal(0, 0.015))),
        zoom=float(np.exp(random.normal(0, 0.03))),
        turn=float(random.normal(0, 0.02)),
        mirror=bool(random.random() < 0.5),
        levels=colour_table(random),
    )


def draw_harsh(random: Random) -> Variation:
    """From studio to telephone, as the discriminator needs it."""
    return replace(
        draw_variation(random),
        shift=(float(random.normal(0, 0.03)), float(random.normal(0, 0.035))),
        zoom=float(np.exp(random.normal(0, 0.08))),
        turn=float(random.normal(0, 0.06)),
        levels=colour_table(random, spread=1.6),
        grey=float(random.uniform(0, 1)) if random.random() < 0.4 else 0.0,
        blur=float(random.uniform(0.002, 0.014)) if random.random() < 0.5 else 0.0,
        noise=float(random.uniform(1, 8)) if random.random() < 0.4 else 0.0,
        tremble=float(random.uniform(0, 0.008)),
        grain=int(random.integers(2**31)),
    )


def draw_steady(random: Random) -> Variation:
    """The same person in front of the same camera: a tracker's errors, a little of the light's."""
    return Variation(
        shift=(float(random.normal(0, 0.006)), float(random.normal(0, 0.006))),
        zoom=float(np.exp(random.normal(0, 0.01))),
        turn=float(random.normal(0, 0.008)),
        levels=colour_table(random, spread=0.25),
    )


def colour_table(random: Random, spread: float = 1.0) -> NDArray[np.uint8]:
    """(256, 3): a camera's exposure, contrast and tint; `spread` scales how far they stray."""
    levels = np.arange(256)[:, None] / 255
    gain = np.exp(random.uniform(-0.22, 0.22) * spread + random.uniform(-0.06, 0.06, 3) * spread)
    curve = np.clip(levels ** np.exp(random.uniform(-0.22, 0.22) * spread) * gain, 0, 1)
    table: NDArray[np.uint8] = np.rint(curve * 255).astype(np.uint8)
    return table
