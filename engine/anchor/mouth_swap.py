"""Another mouth for an avatar: swapped in whole, or the old one stays."""

import shutil
from dataclasses import replace
from pathlib import Path

from engine.anchor.card import read_card, write_card
from engine.errors import AvatarError
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET

OWN = "mouth"
"""Folder of a mouth that belongs to one avatar alone."""

BEFORE = "mouth.before"
"""Where the old mouth waits until the new one is in its place."""

_NEW = ".mouth.part"


def swap_mouth(folder: Path, mouth: Path) -> None:
    """Give the avatar in `folder` the mouth in the folder `mouth`, which is copied.

    A shared mouth that it used stays where it is. Raises AvatarError when it cannot be written; the avatar is
    then as it was.
    """
    mend(folder)
    part, own, before = folder / _NEW, folder / OWN, folder / BEFORE
    card = read_card(folder)
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for name in (FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET):
            shutil.copyfile(mouth / name, part / name)
        if own.is_dir():
            own.rename(before)
        part.rename(own)
        if card.mouth != OWN:
            write_card(folder, replace(card, mouth=OWN))
    except OSError as error:
        mend(folder)
        raise AvatarError(
            f"The new mouth could not be put into {folder} ({error.strerror}), so the old one stays; make "
            "room, or give yourself the right to write there."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(before, ignore_errors=True)


def mend(folder: Path) -> None:
    """Put the old mouth back where a swap was cut off before the new one was in its place."""
    own, before = folder / OWN, folder / BEFORE
    if not before.is_dir():
        return
    if own.is_dir():
        shutil.rmtree(before, ignore_errors=True)
    else:
        before.rename(own)
