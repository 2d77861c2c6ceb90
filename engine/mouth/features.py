"""What goes into a mouth and what comes out, in one place; and the features of an anchor's faces."""

import threading

import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture, input_mask
from engine.anchor.package import Avatar
from engine.array_store import ArrayStore, Rows
from engine.mouth.runtime import Features, MouthRuntime

Tensor = NDArray[np.float32]


def face_input(faces: Picture) -> Tensor:
    """RGB uint8 (n, S, S, 3) idle crops -> float32 (n, 6, S, S) in [-1, 1].

    Channels 0 to 2 are the crop with `crop.input_mask` set to 0 (mid grey), channels 3 to 5 the whole crop.
    """
    whole = np.ascontiguousarray(faces.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(127.5) - 1
    masked = np.where(input_mask(faces.shape[1]), np.float32(0), whole)
    return np.concatenate([masked, whole], axis=1)


def to_pictures(tensor: Tensor) -> Picture:
    """The mouth's float32 (n, 3, S, S) in [-1, 1] -> RGB uint8 (n, S, S, 3), clipped."""
    scaled = np.rint(np.clip(tensor, -1, 1) * np.float32(127.5) + np.float32(127.5))
    return np.ascontiguousarray(scaled.astype(np.uint8).transpose(0, 2, 3, 1))


class AnchorFeatures:
    """The features of one avatar's frames, computed when first needed and kept in fp16.

    Shared by every session of the avatar; safe to use from several threads. With `store` they are kept on
    disk, and found there the next time, where the mouth allows it; `mouth_content` names what it was read
    from.
    """

    def __init__(
        self, avatar: Avatar, mouth: MouthRuntime, store: ArrayStore | None = None, mouth_content: str = ""
    ) -> None:
        """Raises ValueError when the mouth draws another size than the avatar's crops."""
        if mouth.size != avatar.crop_size:
            raise ValueError(
                f"the mouth draws {mouth.size} px, the avatar's crops have {avatar.crop_size} px"
            )
        self._avatar = avatar
        self._mouth = mouth
        self._features: dict[int, Features] = {}
        self._nbytes = 0
        self._lock = threading.Lock()
        self._rows: Rows | None = None
        if store and avatar.content and mouth.maps_key:
            key = (avatar.content, mouth_content, mouth.maps_key)
            self._rows = store.rows(avatar.frames, "features", *key)

    def __getitem__(self, frame: int) -> Features:
        """Features of anchor frame number `frame`."""
        features = self._features.get(frame)
        if features is not None:
            return features
        with self._lock:
            if frame not in self._features:
                self._features[frame] = self._kept(frame) or self._made(frame)
            return self._features[frame]

    def __len__(self) -> int:
        """How many frames are held already."""
        return len(self._features)

    @property
    def nbytes(self) -> int:
        """Memory of what is held, on whatever device, as far as its arrays tell; files are not counted."""
        return self._nbytes

    def fill(self) -> None:
        """Compute what is missing, one frame after another."""
        for frame in range(self._avatar.frames):
            self[frame]

    def _kept(self, frame: int) -> Features | None:
        return self._rows.get(frame) if self._rows else None

    def _made(self, frame: int) -> Features:
        features = self._mouth.encode(self._avatar.face(frame)[None])[0]
        held = self._rows.put(frame, features) if self._rows else features
        if held is features:
            self._nbytes += sum(getattr(features_map, "nbytes", 0) for features_map in features)
        return held
