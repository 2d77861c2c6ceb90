"""What can be told of an avatar package from its card alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import AvatarCard, Clip
from engine.anchor.crop import outline_mask
from engine.anchor.package import MASK, package_files, read_mask
from engine.errors import AvatarError
from engine.evaluate.jitter import crop_jitter

Verdict = Literal["ok", "advice", "problem"]

_MOST_BYTES, _MANY_BYTES = 16 << 30, 4 << 30  # of decoded pictures
_OUTSIDE = 0.02  # share of the square outside the picture that is no matter
_JITTER = 0.5  # pixels
_MIN_FRAMES = 7  # of a clip in which a tremble can be told from a motion
_GRID = (np.arange(16) + 0.5) / 16 - 0.5  # points along a side of the square, from its middle
_SILENT_SHARE = 0.05  # a mouth shown less than this does not speak

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: a "problem" keeps an avatar from going on air, an "advice" would make it better.

    `code` names its kind, such as "consent"; `sentence` is English.
    """

    code: str
    verdict: Verdict
    sentence: str


def problems(checks: Iterable[Check]) -> list[Check]:
    """Those that keep the avatar from going on air."""
    return [check for check in checks if check.verdict == "problem"]


def check_consent(card: AvatarCard) -> Check:
    """Whether the person who is shown agreed."""
    consent = card.consent
    if consent is None:
        return Check(
            "consent",
            "problem",
            "It does not say who agreed to be shown; make it anew with `koubo avatar create`, or add the "
            "consent with `koubo avatar export --consent-by NAME`.",
        )
    who = "A person agreed" if consent.shown == "person" else "Nobody real is shown"
    return Check("consent", "ok", f"{who}: {consent.by}, {consent.on}.")


def check_papers(folder: Path, card: AvatarCard) -> Check:
    """Name and licence."""
    name = folder.absolute().name
    if card.name != name:
        return Check(
            "name", "advice", f"Its card calls it {card.name}, its folder {name}: the folder's name counts."
        )
    if not card.licence.strip():
        return Check("licence", "advice", "It states no licence; say what its pictures may be used for.")
    return Check("licence", "ok", f"Its licence: {card.licence}.")


def check_memory(card: AvatarCard) -> Check:
    """What its decoded pictures take."""
    width, height = card.size
    needed = width * height * 3 // 2 * card.frames
    sentence = f"Its {card.frames} pictures of {width}x{height} take {needed / 1e6:,.0f} MB of memory"
    if needed > _MOST_BYTES:
        return Check("memory", "problem", f"{sentence}; use shorter clips or smaller pictures.")
    if needed > _MANY_BYTES:
        return Check("memory", "advice", f"{sentence}; shorter clips would start faster.")
    return Check("memory", "ok", f"{sentence}.")


def check_crops(card: AvatarCard) -> Check:
    """Whether the mouth's squares lie in the picture."""
    worst, clip = max((float(_outside(clip, card.size, _square()).max()), clip.name) for clip in card.clips)
    left, top, right, bottom = card.mouth_box
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        return Check("crops", "problem", "Its card puts the lips outside the mouth's square; make it anew.")
    lips = _square() * [right - left, bottom - top] + [(left + right) / 2 - 0.5, (top + bottom) / 2 - 0.5]
    for other in card.clips:
        if _outside(other, card.size, lips)[np.array(other.shares) > 0].max(initial=0) > 0.5:
            return Check(
                "crops",
                "problem",
                f"The lips leave the picture in the clip {other.name}; film so that the whole face is seen.",
            )
    if worst > _OUTSIDE:
        return Check(
            "crops",
            "advice",
            f"Up to {worst:.0%} of the mouth's square lies outside the picture in the clip {clip}; leave "
            "more room around the face.",
        )
    return Check("crops", "ok", "The mouth's square always lies in the picture.")


def check_jitter(card: AvatarCard) -> Check:
    """Whether the squares tremble."""
    clips = [clip for clip in card.clips if clip.frames >= _MIN_FRAMES]
    worst, clip = max(((crop_jitter(clip.crops).tremble, clip.name) for clip in clips), default=(0.0, ""))
    if worst > _JITTER:
        return Check(
            "jitter",
            "advice",
            f"The mouth's square trembles by {worst:.2f} px in the clip {clip}; make it anew from steadier "
            "footage.",
        )
    return Check("jitter", "ok", f"The mouth's square trembles by {worst:.2f} px at most.")


def check_shares(card: AvatarCard) -> Check:
    """How much of a drawn mouth may be seen."""
    for clip in card.clips:
        if clip.kind in ("idle", "talking") and np.mean(clip.shares) < _SILENT_SHARE:
            return Check(
                "shares",
                "problem",
                f"The mouth is hardly ever drawn in the clip {clip.name}; film the face from the front.",
            )
    hidden = float(np.mean(np.array(card.shares) < 0.5))
    if hidden > 0:
        return Check(
            "shares",
            "advice",
            f"In {hidden:.0%} of the pictures the face is turned so far that the mouth is left as filmed.",
        )
    return Check("shares", "ok", "Every picture can speak.")


def check_masks(folder: Path, card: AvatarCard) -> Check:
    """Whether every mask covers a mouth."""
    box = np.rint(np.array(card.mouth_box) * (card.crop_size - 1)).astype(int).clip(0, card.crop_size - 1)
    column, row = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    try:
        masks = [read_mask(folder, card)] if not card.outlines else (
            outline_mask(np.array(outline, np.float32).reshape(-1, 2), card.crop_size)
            for outline in sorted(set(card.outlines))
        )  # fmt: skip
        if min(float(mask[row, column]) for mask in masks) > 0.5:
            return Check("masks", "ok", "Every mask covers the lips.")
    except AvatarError as error:
        return Check("masks", "problem", str(error))
    what = "An outline of the lower face" if card.outlines else MASK
    return Check("masks", "problem", f"{what} does not cover the lips; make the avatar anew.")


def check_strangers(folder: Path, card: AvatarCard) -> Check:
    """Files that belong to no avatar."""
    known = set(package_files(folder, card).values())
    strange = sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() and path not in known
    )
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        return Check(
            "files",
            "advice",
            f"It holds files of no avatar, which an export leaves out: {', '.join(strange[:3])}{more}.",
        )
    return Check("files", "ok", "It holds nothing but its own files.")


def _square() -> Numbers:
    """Points all over the square, as shares of its side from its middle."""
    return np.stack(np.meshgrid(_GRID, _GRID), axis=-1).reshape(-1, 2)


def _places(clip: Clip, points: Numbers) -> Numbers:
    """(frames, n, 2): where points of the square lie in each picture."""
    rows = np.array([(crop.cx, crop.cy, crop.size, crop.angle) for crop in clip.crops])
    centres, sides, angles = rows[:, None, :2], rows[:, 2, None, None], rows[:, 3, None]
    x, y = points.T
    turned = np.stack(
        [x * np.cos(angles) - y * np.sin(angles), x * np.sin(angles) + y * np.cos(angles)], axis=-1
    )
    return np.asarray(centres + sides * turned, np.float64)


def _outside(clip: Clip, size: tuple[int, int], points: Numbers) -> Numbers:
    """(frames,): share of the points of the square that lie outside each picture."""
    places = _places(clip, points)
    return np.asarray(((places < 0) | (places > np.array(size))).any(axis=2).mean(axis=1), np.float64)
