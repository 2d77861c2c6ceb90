"""An avatar is a folder: avatar.json, anchor.mp4 and further clips, a trained mouth of its own or shared, and
perhaps mattes. Packages of schema 1 hold one mask.png for all frames.
"""

import os
import re
import tempfile
import threading
from functools import cached_property
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from engine.anchor.card import CARD, AvatarCard, read_card
from engine.anchor.crop import Mask, Picture, extract, outline_mask, outlines_mask
from engine.anchor.footage import forget_footage
from engine.anchor.matte import Mattes, find_mattes
from engine.anchor.pictures import Pictures, load_pictures
from engine.anchor.poses import Poses, find_poses
from engine.array_store import ArrayStore
from engine.errors import AvatarError
from engine.mouth.region import Region
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET, read_sheet
from engine.picture.paste import patch_region
from engine.picture.place import Place
from engine.picture.yuv import Frame, to_rgb

Where = Literal["shipped", "yours", "KOUBO_AVATARS", "elsewhere"]

MASK = "mask.png"
_MASKS = 512  # of an avatar kept at once, 19 MB of 192 pixels square
_PLACES_BYTES = 64 << 20  # of an avatar: 900 frames of 192 pixels square
MOUTH = "mouth"
MOUTH_FILES = (FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET)

MOUTHS = "mouths"
"""Beside the avatars: the folder of mouths that several share."""

RESERVED = frozenset({MOUTHS, "import", "jobs", "new"})
"""No avatar is called so: folders beside avatars, and words of the API."""

_NAME = re.compile(r"[^\W_][\w-]{0,63}")
_PACKAGED = Path(__file__).resolve().parents[2] / "avatars"


class Avatar:
    """A loaded avatar: its card and the decoded frames of all its clips, counted through.

    `one_mask` float32 (crop_size, crop_size) in [0, 1], None where each frame has its own; `mouth` the folder
    of the trained mouth; `mattes` for a clear background, None where the package has none. Frames are decoded
    I420; face crops are cut once, when first asked for. Safe to share between threads.
    """

    def __init__(
        self,
        folder: Path,
        card: AvatarCard,
        pictures: Pictures,
        one_mask: Mask | None,
        mouth: Path,
        mattes: Mattes | None = None,
    ) -> None:
        self.folder = folder
        self.card = card
        self.mouth = mouth
        self.mattes = mattes
        self._one_mask = one_mask
        self._pictures = pictures
        self._frames = pictures.frames
        self._faces = dict(pictures.faces)
        self._masks: dict[int, Picture] = {}
        self._places: dict[int, Place] = {}
        self._places_bytes = 0
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: Path, store: ArrayStore | None = None) -> "Avatar":
        """Read the package in `folder`, its decoded pictures from `store` where it has them.

        Raises AvatarError with one sentence for whatever is damaged.
        """
        card = read_card(folder)
        mouth = mouth_folder(folder, card)
        mattes = find_mattes(folder, card)
        pictures = load_pictures(folder, card, store)
        one_mask = None if card.outlines else read_mask(folder, card)
        return cls(folder, card, pictures, one_mask, mouth, mattes)

    @property
    def name(self) -> str:
        """Its short name."""
        return self.card.name

    @property
    def frames(self) -> int:
        """Number of anchor frames."""
        return len(self._frames)

    @property
    def content(self) -> str | None:
        """Names its pixels, where it was loaded with a store."""
        return self._pictures.content

    @property
    def nbytes(self) -> int:
        """Memory that its frames take of this process alone."""
        return self._pictures.nbytes

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of its pictures."""
        return self.card.size

    @property
    def crop_size(self) -> int:
        """Side of the mouth's square in pixels."""
        return self.card.crop_size

    def frame(self, index: int) -> Frame:
        """Anchor frame `index` as I420 (h * 3 // 2, w); shared, so read-only."""
        return self._frames[index]

    def rgb(self, index: int) -> Picture:
        """Anchor frame `index` as RGB uint8 (h, w, 3)."""
        return to_rgb(self._frames[index])

    @cached_property
    def poses(self) -> Poses:
        """The pose of each frame, to match when one clip follows another."""
        return find_poses(self.card, self._frames)

    def mask(self, index: int) -> Mask:
        """What the mouth is pasted with in frame `index`: float32 (crop_size, crop_size) in [0, 1]."""
        if self._one_mask is not None:
            return self._one_mask
        with self._lock:
            held = self._masks.get(index)
        if held is None:
            outline = np.array(self.card.outlines[index], np.float32).reshape(-1, 2)
            held = np.rint(outline_mask(outline, self.crop_size) * 255).astype(np.uint8)
            with self._lock:
                self._masks[index] = held
                if len(self._masks) > _MASKS:
                    del self._masks[next(iter(self._masks))]
        return held.astype(np.float32) / np.float32(255)

    def place(self, index: int) -> Place:
        """Where the mouth is pasted in frame `index`, and what that takes; made once, when first asked for.

        As many are kept as fit into 64 MB; the others are made anew each time, some tenths of a millisecond.
        """
        place = self._places.get(index)
        if place is None:
            # Two threads may both do it: they make the same.
            box = self.card.mouth_box
            place = Place(self.card.crops[index], self.mask(index), self.face(index), box)
            with self._lock:
                if self._places_bytes + place.nbytes <= _PLACES_BYTES:
                    self._places_bytes += place.nbytes if index not in self._places else 0
                    self._places[index] = place
        return place

    @cached_property
    def paste_region(self) -> Region:
        """The part of the mouth's square that pasting reads, in any of its frames."""
        mask = self._one_mask
        if mask is None:
            outlines = [np.array(outline, np.float32).reshape(-1, 2) for outline in self.card.outlines]
            mask = outlines_mask(outlines, self.crop_size)
        return patch_region(mask)

    def face(self, index: int) -> Picture:
        """The mouth's crop of frame `index`, RGB uint8 (crop_size, crop_size, 3); shared, so read-only."""
        with self._lock:
            if index not in self._faces:
                face = extract(self.rgb(index), self.card.crops[index], self.crop_size)
                face.flags.writeable = False
                self._faces[index] = face
            return self._faces[index]


def read_mask(folder: Path, card: AvatarCard) -> Mask:
    """The one mask of a package without outlines, float32 (crop_size, crop_size). Raises AvatarError."""
    mask = cv2.imread(str(folder / MASK), cv2.IMREAD_GRAYSCALE) if (folder / MASK).is_file() else None
    if mask is None or mask.shape != (card.crop_size, card.crop_size):
        raise AvatarError(
            f"The avatar {card.name} is damaged: {MASK} is missing or not a grey picture of "
            f"{card.crop_size}x{card.crop_size}; create it again."
        )
    return mask.astype(np.float32) / np.float32(255)


def mouth_folder(folder: Path, card: AvatarCard) -> Path:
    """The folder of the mouth of the avatar in `folder`. Raises AvatarError when it is none of its size."""
    root = folder.resolve().parent
    mouth = (folder / card.mouth).resolve()
    if root not in mouth.parents:
        raise AvatarError(
            f"The avatar {card.name} names a mouth outside its avatars folder; it is not loaded."
        )
    for name in MOUTH_FILES:
        if not (mouth / name).is_file():
            raise AvatarError(
                f"The avatar {card.name} is damaged: its mouth {card.mouth} lacks {name}; create it again."
            )
    size = read_sheet(mouth).size
    if size != card.crop_size:
        raise AvatarError(
            f"The avatar {card.name} has crops of {card.crop_size} px but its mouth draws {size} px; "
            "create it again."
        )
    return mouth


def package_files(folder: Path, card: AvatarCard) -> dict[str, Path]:
    """Every file of the avatar in `folder`, by its name in a package that stands alone, where a shared mouth
    lies in `mouth/`. Mattes are among them if every clip has one; whether the others exist is not looked at.
    """
    names = [CARD, *(clip.file for clip in card.clips)]
    mattes = [clip.matte_file for clip in card.clips]
    names += mattes if all((folder / name).is_file() for name in mattes) else []
    names += [] if card.outlines else [MASK]
    mouth = {f"{MOUTH}/{name}": folder / card.mouth / name for name in MOUTH_FILES}
    return {name: folder / name for name in names} | mouth


def avatar_roots() -> list[Path]:
    """Where avatars are looked for: the shipped ones, each folder of KOUBO_AVATARS, the user's own."""
    return [_PACKAGED, *_named_roots(), _home_root()]


def own_avatars() -> Path:
    """Where new avatars are written: the first folder of KOUBO_AVATARS, else the one at home."""
    return (*_named_roots(), _home_root())[0]


def _named_roots() -> list[Path]:
    return [Path(part) for part in os.environ.get("KOUBO_AVATARS", "").split(os.pathsep) if part]


def _home_root() -> Path:
    return Path.home() / ".local" / "share" / "koubo" / "avatars"


def list_avatars() -> list[str]:
    """Names of the avatars that can be found, shipped ones first, each once."""
    names: dict[str, None] = {}
    for root in avatar_roots():
        for card in sorted(root.glob(f"*/{CARD}")):
            names[card.parent.name] = None
    return list(names)


def find_avatar(name_or_path: str) -> Path:
    """The folder of an avatar by its name or by a path. Raises AvatarError when there is none."""
    for root in avatar_roots():
        if Path(name_or_path).name == name_or_path and (root / name_or_path / CARD).is_file():
            return root / name_or_path
    path = Path(name_or_path)
    if path.is_dir():
        return path
    known = ", ".join(list_avatars()) or "none is installed"
    raise AvatarError(f"There is no avatar {name_or_path!r}; known avatars: {known}.")


def shipped_mouth(model: str) -> Path:
    """Folder of a mouth that comes with Koubo. Raises AvatarError when there is none called so."""
    mouths = _PACKAGED / MOUTHS
    folder = mouths / model
    if not (folder / MOUTH_SHEET).is_file():
        known = ", ".join(sorted(path.name for path in mouths.glob("*"))) or "none"
        raise AvatarError(f"There is no mouth called {model}; shipped: {known}.")
    return folder


def check_name(name: str) -> None:
    """Raises AvatarError for what cannot name an avatar."""
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise AvatarError(
            f"{name!r} cannot name an avatar; use up to 64 letters, digits, hyphens and underscores, "
            f"and none of the words {', '.join(sorted(RESERVED))}."
        )


def check_free(name: str) -> None:
    """Raises AvatarError for what cannot name a new avatar: no name, or one that is taken."""
    check_name(name)
    if name in list_avatars() or (own_avatars() / name).exists():
        raise AvatarError(f"There is an avatar {name} already; choose another name or delete that one first.")


def where(folder: Path) -> Where:
    """Where an avatar's folder lies: comes with Koubo, is the user's own at home, is in a folder of
    KOUBO_AVATARS, or somewhere else.
    """
    root = folder.absolute().parent.resolve()
    if root == _PACKAGED.resolve():
        return "shipped"
    if root == _home_root().resolve():
        return "yours"
    return "KOUBO_AVATARS" if root in (path.resolve() for path in _named_roots()) else "elsewhere"


def is_own(folder: Path) -> bool:
    """Whether an avatar's folder is the user's: at home or in a folder of KOUBO_AVATARS, and not shipped."""
    return where(folder) in ("yours", "KOUBO_AVATARS")


def check_own(folder: Path) -> None:
    """Raises AvatarError for what is no avatar of the user's own: it is left as it is."""
    if not is_own(folder) or not (folder / CARD).is_file():
        place = "comes with Koubo" if where(folder) == "shipped" else f"lies in {folder.absolute().parent}"
        raise AvatarError(f"{folder.name} {place} and stays as it is; only your own avatars can be deleted.")


def delete(name_or_path: str) -> None:
    """Remove one of the user's own avatars, at once or not at all.

    Raises AvatarError for one that is shipped, lies elsewhere, or whose mouth another avatar uses.
    """
    folder = find_avatar(name_or_path)
    check_own(folder)
    for other in folder.parent.glob(f"*/{CARD}"):
        if other.parent != folder and _leans_on(other.parent, folder):
            raise AvatarError(
                f"The avatar {other.parent.name} speaks with the mouth of {folder.name}; "
                f"delete {other.parent.name} first."
            )
    try:
        # Moved away first: whatever interrupts the removal, no half avatar is left.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as away:
            folder.rename(Path(away) / folder.name)
        forget_footage(folder)
    except OSError as error:
        raise AvatarError(
            f"{folder} cannot be removed ({error.strerror}); check that you may write there."
        ) from error


def _leans_on(folder: Path, other: Path) -> bool:
    """Whether the avatar in `folder` uses a mouth within `other`."""
    try:
        mouth = (folder / read_card(folder).mouth).resolve()
    except AvatarError:
        return False
    return other.resolve() in mouth.parents
