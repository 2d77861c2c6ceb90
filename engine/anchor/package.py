"""An avatar is a folder: avatar.json, anchor.mp4 and further clips, a trained mouth of its own or shared, and
perhaps mattes. Packages of schema 1 hold one mask.png for all frames.
"""

import os
import threading
from pathlib import Path

import cv2
import numpy as np

from engine.anchor.card import CARD, AvatarCard, Clip, read_card
from engine.anchor.crop import Mask, Picture, extract, outline_mask
from engine.anchor.matte import Mattes, find_mattes
from engine.errors import AvatarError, BadMediaError
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET, read_sheet
from engine.picture.video import read_i420
from engine.picture.yuv import Frame, to_rgb

MASK = "mask.png"
_PACKAGED = Path(__file__).resolve().parents[2] / "avatars"


class Avatar:
    """A loaded avatar: its card and the decoded frames of all its clips, counted through.

    `one_mask` float32 (crop_size, crop_size) in [0, 1], None where each frame has its own; `mouth` the folder
    of the trained mouth; `mattes` for a clear background, None where the package has none. Frames are kept as
    decoded I420; face crops are cut once, when first asked for. Safe to share between threads.
    """

    def __init__(
        self,
        folder: Path,
        card: AvatarCard,
        frames: list[Frame],
        one_mask: Mask | None,
        mouth: Path,
        mattes: Mattes | None = None,
    ) -> None:
        self.folder = folder
        self.card = card
        self.mouth = mouth
        self.mattes = mattes
        self._one_mask = one_mask
        self._frames = frames
        self._faces: dict[int, Picture] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: Path) -> "Avatar":
        """Read the package in `folder`; raises AvatarError with one sentence for whatever is damaged."""
        card = read_card(folder)
        mouth = _mouth_folder(folder, card)
        mattes = find_mattes(folder, card)
        frames = [frame for clip in card.clips for frame in _read_frames(folder, card, clip)]
        one_mask = None if card.outlines else _read_mask(folder, card)
        return cls(folder, card, frames, one_mask, mouth, mattes)

    @property
    def name(self) -> str:
        """Its short name."""
        return self.card.name

    @property
    def frames(self) -> int:
        """Number of anchor frames."""
        return len(self._frames)

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

    def mask(self, index: int) -> Mask:
        """What the mouth is pasted with in frame `index`: float32 (crop_size, crop_size) in [0, 1]."""
        if self._one_mask is not None:
            return self._one_mask
        outline = np.array(self.card.outlines[index], np.float32).reshape(-1, 2)
        return outline_mask(outline, self.crop_size)

    def face(self, index: int) -> Picture:
        """The mouth's crop of frame `index`, RGB uint8 (crop_size, crop_size, 3); shared, so read-only."""
        with self._lock:
            if index not in self._faces:
                face = extract(self.rgb(index), self.card.crops[index], self.crop_size)
                face.flags.writeable = False
                self._faces[index] = face
            return self._faces[index]


def _read_frames(folder: Path, card: AvatarCard, clip: Clip) -> list[Frame]:
    width, height = card.size
    frames: list[Frame] = []
    try:
        for frame in read_i420(folder / clip.file):
            frame.flags.writeable = False
            frames.append(frame)
    except BadMediaError as error:
        raise AvatarError(f"The avatar {card.name} is damaged: {error}") from error
    if len(frames) != clip.frames:
        raise AvatarError(
            f"The avatar {card.name} is damaged: {clip.file} holds {len(frames)} pictures, {CARD} says "
            f"{clip.frames}; prepare it again."
        )
    if frames[0].shape != (height * 3 // 2, width):
        raise AvatarError(
            f"The avatar {card.name} is damaged: {clip.file} has another size than {width}x{height}; "
            "prepare it again."
        )
    return frames


def _read_mask(folder: Path, card: AvatarCard) -> Mask:
    mask = cv2.imread(str(folder / MASK), cv2.IMREAD_GRAYSCALE) if (folder / MASK).is_file() else None
    if mask is None or mask.shape != (card.crop_size, card.crop_size):
        raise AvatarError(
            f"The avatar {card.name} is damaged: {MASK} is missing or not a grey picture of "
            f"{card.crop_size}x{card.crop_size}; prepare it again."
        )
    return mask.astype(np.float32) / np.float32(255)


def _mouth_folder(folder: Path, card: AvatarCard) -> Path:
    root = folder.resolve().parent
    mouth = (folder / card.mouth).resolve()
    if root not in mouth.parents:
        raise AvatarError(
            f"The avatar {card.name} names a mouth outside its avatars folder; it is not loaded."
        )
    for name in (FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET):
        if not (mouth / name).is_file():
            raise AvatarError(
                f"The avatar {card.name} is damaged: its mouth {card.mouth} lacks {name}; prepare it again."
            )
    size = read_sheet(mouth).size
    if size != card.crop_size:
        raise AvatarError(
            f"The avatar {card.name} has crops of {card.crop_size} px but its mouth draws {size} px; "
            "prepare it again."
        )
    return mouth


def avatar_roots() -> list[Path]:
    """Where avatars are looked for: the shipped ones, each folder of KOUBO_AVATARS, the user's own."""
    return [_PACKAGED, *_named_roots(), _home_root()]


def own_avatars() -> Path:
    """Where new avatars are written: the first folder of KOUBO_AVATARS, else the user's own. It may be missing
    yet.
    """
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
