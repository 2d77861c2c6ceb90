"""An avatar in pictures of another size than its own."""

from dataclasses import replace
from pathlib import Path

from engine.anchor.card import AvatarCard
from engine.anchor.crop import Mask, Picture
from engine.anchor.matte import Mattes, Plane
from engine.anchor.package import Avatar
from engine.picture.fit import Fit, Size


class FittedAvatar(Avatar):
    """An avatar made to fit a canvas once: its frames, where their mouths are, and its mattes.

    Faces and masks are those of the original, so what a mouth knows of them holds for both.
    """

    def __init__(self, original: Avatar, canvas: Size) -> None:
        """`canvas`: (width, height), even. Raises AvatarError when the matte does not fit the package."""
        fit = Fit(original.size, canvas)
        backdrop = fit.backdrop(original.frame(0))
        frames = [fit.frame(original.frame(index), backdrop) for index in range(original.frames)]
        for frame in frames:
            frame.flags.writeable = False
        card = original.card
        clips = tuple(replace(clip, crops=tuple(map(fit.crop, clip.crops))) for clip in card.clips)
        mattes = _FittedMattes(original.folder, card, fit) if original.mattes else None
        fitted = replace(card, size=canvas, clips=clips)
        super().__init__(original.folder, fitted, frames, None, original.mouth, mattes)
        self._original = original

    def mask(self, index: int) -> Mask:
        """As the original's."""
        return self._original.mask(index)

    def face(self, index: int) -> Picture:
        """As the original's: a mouth sees the pixels that were filmed."""
        return self._original.face(index)


class _FittedMattes(Mattes):
    """Mattes in a canvas; kept packed at their own size, and fitted when one is asked for."""

    def __init__(self, folder: Path, card: AvatarCard, fit: Fit) -> None:
        super().__init__(folder, card)
        self._fit = fit

    def __getitem__(self, frame: int) -> Plane:
        """The matte of a frame, uint8 (h, w) of the canvas."""
        return self._fit.plane(super().__getitem__(frame))
