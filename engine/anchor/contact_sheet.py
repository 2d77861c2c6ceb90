"""An avatar on one page: what a person needs to see to tell whether it is good."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from engine.anchor.card import Clip
from engine.anchor.crop import Picture, extract
from engine.anchor.film_checks import LARGER, step, thumb
from engine.anchor.matte import Mattes, cut_out
from engine.anchor.package import Avatar
from engine.anchor.page import Tile, line, page, strip
from engine.anchor.survey import Tell
from engine.live import LiveAvatar, Tick
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.yuv import to_rgb
from engine.speech import espeak
from engine.speech.audio import FRAME_RATE

SENTENCE = "Mama, we saw five blue moons."
"""What the mouth says; each of `SHAPES` occurs in it."""

SHAPES = {"m": "m", "ɑː": "ah", "iː": "ee", "f": "f", "uː": "oo"}
"""Phonemes in which the mouth is looked at, and what is written there."""

_TALL, _WIDE = 6, 4  # pictures in a row
_AROUND = 1.4  # side of what is shown of a speaking face, in sides of the mouth's square
_FACE = 384  # pixels of it
_SQUARE, _MASK, _HIDDEN = (255, 255, 255), (90, 230, 120), (255, 100, 90)
_GAIN = 8  # by which differences are shown larger
_PLOT = (34, 37, 43)
_CHEQUERS = 16  # along the picture's width
_STRESS = "ˈˌ"


def contact_sheet(avatar: Avatar, mouth: MouthRuntime, tell: Tell | None = None) -> Picture:
    """One page, RGB uint8 (h, page.WIDTH, 3): pictures of each clip with the mouth's square, its mask and the
    share that is shown; the squares alone; the matte; how the idle clip goes round; the mouth, silent and in
    speech.

    `tell` hears ("sheet", parts done, of how many).
    """
    card = avatar.card
    columns = _TALL if card.size[0] <= 1.2 * card.size[1] else _WIDE
    parts = _head(avatar)
    total = len(card.clips) + 2
    for done, clip in enumerate(card.clips):
        if tell is not None:
            tell("sheet", done, total)
        parts += _clip(avatar, clip, columns)
    if avatar.mattes is not None:
        parts += _matte(avatar, avatar.mattes, columns)
    parts += _round(avatar, columns)
    if tell is not None:
        tell("sheet", total - 1, total)
    parts += _speaking(avatar, mouth)
    if tell is not None:
        tell("sheet", total, total)
    return page(parts)


def _head(avatar: Avatar) -> list[Picture]:
    card = avatar.card
    agreed = card.consent
    facts = (
        f"{card.size[0]}x{card.size[1]}, {card.frames / FRAME_RATE:.1f} s",
        f"mouth {card.model}, {card.crop_size} px",
        f"{agreed.shown}: {agreed.by}, {agreed.on}" if agreed else "no consent is stated",
        f"licence {card.licence}",
    )
    names = dict.fromkeys([avatar.name, *card.title.values()])
    return [line("  ".join(names), large=True), line("   |   ".join(facts))]


def _spread(clip: Clip, start: int, count: int) -> list[int]:
    """Numbers of pictures spread evenly over a clip that begins with picture `start`."""
    return [start + round(at) for at in np.linspace(0, clip.frames - 1, min(count, clip.frames))]


def _clip(avatar: Avatar, clip: Clip, columns: int) -> list[Picture]:
    numbers = _spread(clip, avatar.card.start(clip.name), columns)
    shown = np.mean(clip.shares)
    title = (
        f"{clip.name} ({clip.kind}, {clip.loop}), {clip.frames / FRAME_RATE:.1f} s, mouth shown {shown:.0%}"
    )
    squares = [Tile(avatar.face(number), f"{avatar.card.crops[number].size:.0f} px") for number in numbers]
    return [
        line(title),
        strip([_drawn(avatar, number) for number in numbers], columns),
        strip(squares, columns),
    ]


def _drawn(avatar: Avatar, number: int) -> Tile:
    """A picture with the mouth's square (white), the line where its mask is half (green), and its share."""
    card, size = avatar.card, avatar.crop_size
    picture = avatar.rgb(number).copy()
    back = cv2.invertAffineTransform(card.crops[number].matrix(size))
    corners = np.array([(0, 0), (size, 0), (size, size), (0, size)], np.float64) - 0.5
    half = (avatar.mask(number) > 0.5).astype(np.uint8)
    edges, _ = cv2.findContours(half, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    thick = max(2, round(card.size[0] / 240))
    for points, colour in ((corners, _SQUARE), *((edge.reshape(-1, 2), _MASK) for edge in edges)):
        placed = points @ back[:, :2].T + back[:, 2]
        cv2.polylines(picture, [np.rint(placed * 16).astype(np.int32)], True, colour, thick, cv2.LINE_AA, 4)
    share = card.shares[number]
    return Tile(picture, f"{number}   mouth {share:.0%}", _HIDDEN if share < 0.5 else _SQUARE)


def _matte(avatar: Avatar, mattes: Mattes, columns: int) -> list[Picture]:
    tiles = []
    width, height = avatar.size
    side = max(1, width // _CHEQUERS)
    rows, places = np.mgrid[:height, :width] // side
    squares = np.where(((rows + places) % 2)[..., None], np.float32(200), np.float32(150))
    for number in _spread(avatar.card.idle, 0, columns):
        alpha = mattes[number].astype(np.float32)[..., None] / 255
        inside = to_rgb(cut_out(avatar.frame(number), mattes[number]))
        mixed = inside * alpha + squares * (1 - alpha)
        tiles.append(Tile(np.rint(mixed).astype(np.uint8), str(number)))
    return [line("before a clear background"), strip(tiles, columns)]


def _round(avatar: Avatar, columns: int) -> list[Picture]:
    """How the idle clip goes round."""
    clip = avatar.card.idle
    last = clip.frames - 1
    if clip.loop == "forward":
        one, other, title = last, 0, "the idle clip starts again: last picture, first picture"
    else:
        one, other, title = max(last - 1, 0), last, "the idle clip turns back: the two last pictures"
    before, after = avatar.rgb(one), avatar.rgb(other)
    apart = cv2.absdiff(before, after)
    thumbs = [thumb(avatar.frame(number)) for number in range(clip.frames)]
    steps = [step(*pair) for pair in itertools.pairwise(thumbs)] or [0.0]
    largest = float(np.percentile(steps, LARGER))
    tiles = [
        Tile(before, str(one)),
        Tile(after, str(other)),
        Tile(np.asarray(cv2.convertScaleAbs(apart, alpha=_GAIN), np.uint8), f"difference x{_GAIN}"),
        Tile(_curve(steps, before.shape[:2]), f"steps, up to {max(steps):.2f}"),
    ]
    jump = step(thumbs[one], thumbs[other])
    words = f"{title}; their difference is {jump:.2f} of 255 levels, larger steps within are {largest:.2f}"
    return [line(words), strip(tiles, columns)]


def _curve(steps: Sequence[float], shape: tuple[int, ...]) -> Picture:
    """The step from each picture to the next, on a picture of (height, width): a hidden cut is a spike."""
    height, width = shape
    picture = np.full((height, width, 3), _PLOT, np.uint8)
    across = np.linspace(0, width - 1, max(len(steps), 2))[: len(steps)]
    up = height * (0.9 - 0.8 * np.array(steps) / max(*steps, 1e-6))
    points = np.rint(np.column_stack([across, up])).astype(np.int32)
    cv2.polylines(picture, [points], False, _MASK, max(1, width // 240), cv2.LINE_AA)
    return picture


def _speaking(avatar: Avatar, mouth: MouthRuntime) -> list[Picture]:
    """The face as it was filmed, above it silent and in the middle of some sounds."""
    spoken = espeak.speak(SENTENCE, "en-us")
    live = LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)
    # What is drawn without a voice is shown too, so silence goes before.
    wanted = {0: "silent"}
    for phoneme in spoken.phonemes:
        words = SHAPES.get(phoneme.label.strip(_STRESS))
        if words is not None:
            middle = 1 + int((phoneme.start + phoneme.end) / 2 * FRAME_RATE)
            wanted = {number: text for number, text in wanted.items() if text != words} | {middle: words}
    shown: list[tuple[Tick, str]] = []
    for number in range(max(wanted) + 1):
        if number == 1:
            live.push(spoken.samples)
            live.finish()
        tick = live.tick()
        if number in wanted:
            shown.append((tick, wanted[number]))
    filmed = [Tile(_close(avatar, tick, avatar.rgb(tick.frame)), "as filmed") for tick, _ in shown]
    said = [Tile(_close(avatar, tick, to_rgb(tick.picture)), words) for tick, words in shown]
    columns = len(shown)
    return [line(f'"{SENTENCE}"'), strip(said, columns), strip(filmed, columns)]


def _close(avatar: Avatar, tick: Tick, picture: Picture) -> Picture:
    """The face around the mouth, upright; blank beyond the picture."""
    crop = avatar.card.crops[tick.frame]
    crop = replace(crop, size=crop.size * _AROUND)
    close = extract(picture, crop, _FACE)
    inside = np.ones(picture.shape[:2], np.uint8)
    close[cv2.warpAffine(inside, crop.matrix(_FACE), (_FACE, _FACE), flags=cv2.INTER_NEAREST) == 0] = _PLOT
    return close
