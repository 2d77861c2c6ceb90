"""An avatar in pictures of another size than its own."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from engine.anchor.card import AvatarCard
from engine.anchor.crop import Mask, Picture
from engine.anchor.matte import Mattes, Plane
from engine.anchor.package import Avatar
from engine.anchor.pictures import Pictures
from engine.anchor.poses import Poses
from engine.mouth.region import Region
from engine.picture.fit import Fit, Size
from engine.picture.yuv import Frame, to_rgb


class FittedAvatar(Avatar):
    """An avatar fitted into a canvas: its frames, where their mouths are, and its mattes.

    Each frame is fitted once, when first asked for, about a millisecond. Faces, masks and poses are those of
    the original, so what a mouth knows of them holds for both.
    """

    def __init__(self, original: Avatar, canvas: Size) -> None:
        """`canvas`: (width, height), even. Raises AvatarError when the matte does not fit the package."""
        fit, card = Fit(original.size, canvas), original.card
        clips = tuple(replace(clip, crops=tuple(map(fit.crop, clip.crops))) for clip in card.clips)
        mattes = _FittedMattes(original.folder, card, original.mattes, fit) if original.mattes else None
        super().__init__(
            original.folder,
            replace(card, size=canvas, clips=clips),
            Pictures.of([]),
            None,
            original.mouth,
            mattes,
        )
        self._original = original
        self._fit = fit
        self._backdrop = fit.backdrop(original.frame(0))
        self._fitted: dict[int, Frame] = {}

    @property
    def frames(self) -> int:
        """Number of anchor frames."""
        return self._original.frames

    @property
    def nbytes(self) -> int:
        """Memory that its frames will take, once all are fitted."""
        return self.frames * self._backdrop.nbytes

    def frame(self, index: int) -> Frame:
        """Anchor frame `index` as I420 of the canvas; shared, so read-only."""
        frame = self._fitted.get(index)
        if frame is None:
            # Two threads may both do it: they make the same.
            frame = self._fit.frame(self._original.frame(index), self._backdrop)
            frame.flags.writeable = False
            self._fitted[index] = frame
        return frame

    def rgb(self, index: int) -> Picture:
        """Anchor frame `index` as RGB uint8 (h, w, 3)."""
        return to_rgb(self.frame(index))

    @cached_property
    def poses(self) -> Poses:
        """As the original's: nothing about a pose depends on the size."""
        return self._original.poses

    def mask(self, index: int) -> Mask:
        """As the original's."""
        return self._original.mask(index)

    @cached_property
    def paste_region(self) -> Region:
        """As the original's."""
        return self._original.paste_region

    def face(self, index: int) -> Picture:
        """As the original's: a mouth sees the pixels that were filmed."""
        return self._original.face(index)


class _FittedMattes(Mattes):
    """The mattes of an avatar, fitted when one is asked for."""

    def __init__(self, folder: Path, card: AvatarCard, original: Mattes, fit: Fit) -> None:
        super().__init__(folder, card)
        self._original = original
        self._fit = fit

    def load(self) -> None:
        """Decode those of the original, if that is not done. Raises AvatarError."""
        self._original.load()

    def __getitem__(self, frame: int) -> Plane:
        """The matte of a frame, uint8 (h, w) of the canvas."""
        return self._fit.plane(self._original[frame])
