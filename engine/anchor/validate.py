"""Is an avatar package whole and fit to go on air? Everything that can be checked without guessing."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.anchor.card import AvatarCard, read_card
from engine.anchor.crop import Mask, extract, outline_mask
from engine.anchor.film_checks import Film, check_clip, check_covers, check_mattes
from engine.anchor.package import MOUTH_FILES, mouth_folder, read_mask
from engine.anchor.package_checks import (
    Check,
    check_consent,
    check_crops,
    check_jitter,
    check_masks,
    check_memory,
    check_papers,
    check_shares,
    check_strangers,
    problems,
)
from engine.anchor.survey import Tell
from engine.errors import AvatarError
from engine.mouth.onnx_file import check_network
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.mouth.runtime import MouthRuntime
from engine.mouth.sheet import MOUTH_SHEET, read_sheet
from engine.picture.yuv import Frame, to_rgb
from engine.speech.mel import SILENT_WINDOW

TRIED = 6
"""Pictures of the idle clip on which silence is drawn."""

_MOST_VALUES = 64 << 20  # in one map between the mouth's halves
_FAR, _BROKEN = 8.0, 24.0  # levels of 255 between a face and its drawn silence


def validate(folder: Path, tell: Tell | None = None) -> list[Check]:
    """Look at all of the package in `folder`: what is wrong is in the list, nothing is raised for it.

    `tell` hears ("check", pictures read, of how many), then ("mouth", faces drawn, of how many).
    """
    try:
        card = read_card(folder)
    except AvatarError as error:
        return [Check("card", "problem", str(error))]
    tell = tell or _nobody
    of_card = [check_crops(card), check_jitter(card), check_masks(folder, card), check_shares(card)]
    of_package = [check_consent(card), check_papers(folder, card), check_strangers(folder, card)]
    memory = check_memory(card)
    if problems([memory]):
        return [*of_package, memory, *of_card]
    films, idle = _films(folder, card, tell)
    mouth = _mouth(folder, card, {} if problems([*films, *of_card]) else idle, tell)
    return [*of_package, memory, *films, *of_card, *mouth]


def _nobody(step: str, done: int, of: int) -> None:
    """Hears nothing."""


def _films(folder: Path, card: AvatarCard, tell: Tell) -> tuple[list[Check], dict[int, Frame]]:
    """Every video, read once; and some pictures of the idle clip."""
    keep = {round(number) for number in np.linspace(0, card.idle.frames - 1, TRIED)}
    early = check_mattes(folder, card)
    total = card.frames * (2 if early is None else 1)
    done = 0
    checks: list[Check] = []
    idle: dict[int, Frame] = {}
    for clip in card.clips:
        film = Film(folder, card, clip.file, clip.frames)
        for number, frame in film.read():
            if clip is card.idle and number in keep:
                idle[number] = frame
            done += 1
            tell("check", done, total)
        checks += check_clip(film, clip)
    if early is not None:
        return [*checks, early], idle
    mattes = [Film(folder, card, clip.matte_file, clip.frames) for clip in card.clips]
    for film in mattes:
        for _ in film.read():
            done += 1
            tell("check", done, total)
    return [*checks, check_covers(mattes)], idle


def _mouth(folder: Path, card: AvatarCard, idle: Mapping[int, Frame], tell: Tell) -> list[Check]:
    """Whether the mouth opens, and on the `idle` pictures whether it leaves a silent face as it is."""
    try:
        mouth = open_checked(mouth_folder(folder, card))
    except AvatarError as error:
        return [Check("mouth", "problem", str(error))]
    opened = Check("mouth", "ok", f"Its mouth opens and draws {mouth.size} px.")
    if not idle:
        return [opened]
    differences = []
    for done, (number, frame) in enumerate(sorted(idle.items()), start=1):
        mask = _mask(folder, card, number) * card.shares[number]
        differences.append(_silence(mouth, card, number, frame, mask))
        tell("mouth", done, len(idle))
    return [opened, _verdict(float(np.max(differences)))]


def open_checked(folder: Path) -> MouthRuntime:
    """The mouth in `folder`, by OpenVINO, after a look into its files. Raises AvatarError."""
    for channels, height, width in read_sheet(folder).maps:
        if min(channels, height, width) < 1 or channels * height * width > _MOST_VALUES:
            raise AvatarError(f"The mouth's {MOUTH_SHEET} names maps of no mouth; export the mouth again.")
    for name in MOUTH_FILES:
        if name != MOUTH_SHEET:
            check_network(folder / name)
    return OpenVinoMouth(folder)


def _mask(folder: Path, card: AvatarCard, number: int) -> Mask:
    if not card.outlines:
        return read_mask(folder, card)
    return outline_mask(np.array(card.outlines[number], np.float32).reshape(-1, 2), card.crop_size)


def _silence(mouth: MouthRuntime, card: AvatarCard, number: int, frame: Frame, mask: Mask) -> float:
    """Levels of 255 by which a face that is drawn in silence differs from itself, where that is shown."""
    face = extract(to_rgb(frame), card.crops[number], card.crop_size)
    drawn = mouth.decode(SILENT_WINDOW[None], mouth.encode(face[None]))[0]
    apart = np.abs(drawn.astype(np.float32) - face).mean(axis=2)
    return float((apart * mask).sum() / max(float(mask.sum()), 1.0))


def _verdict(levels: float) -> Check:
    if levels > _BROKEN:
        return Check(
            "silence",
            "problem",
            f"Its mouth draws a silent face {levels:.0f} of 255 levels off the picture; take another mouth.",
        )
    if levels > _FAR:
        return Check(
            "silence",
            "advice",
            f"Its mouth draws a silent face {levels:.0f} of 255 levels off the picture; train it on this "
            "person with `koubo avatar train`.",
        )
    return Check("silence", "ok", f"Its mouth leaves a silent face as it is, to {levels:.1f} of 255 levels.")
