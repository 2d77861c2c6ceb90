"""Makes engine/anchor/canonical_face.npy: the mean face of the studio's characters, mouth closed and open.

python -m training.studio.canonical_face CHARACTERS engine/anchor/canonical_face.npy
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.mediapipe_tracker import points_of_picture
from engine.errors import NoFaceError
from training.studio.renderer import FrameSpec, Look, stage

Shape = NDArray[np.float64]

_LOOK = Look(448, 448, fov=24.0, view=(0.0, 0.05, 0.95), aim=(0.0, 0.04))
_POSES = (FrameSpec(bones={}), FrameSpec(bones={}, visemes={"AE_AA": 1.0}))
_RIGHT_EYE, _LEFT_EYE = [33, 133], [362, 263]
_TWINS = {80: 310, 191: 415, 310: 80, 415: 191}  # of the inner lips, which lie on each other when closed


def canonical_faces(characters: Sequence[Path]) -> NDArray[np.float32]:
    """(2, 478, 3): the characters' mean face at rest and with its mouth wide open, both symmetric; x to the
    right, y down, z away, in distances between the eyes. Raises NoFaceError where no face is tracked.
    """
    closed, opened = np.mean([list(_shapes(character)) for character in characters], axis=0)
    twins = _twins(closed)
    mirrored = np.array([-1.0, 1.0, 1.0])
    return np.stack([(face + face[twins] * mirrored) / 2 for face in (closed, opened)]).astype(np.float32)


def _shapes(character: Path) -> Iterator[Shape]:
    with stage(character, _LOOK) as page:
        pictures = page.render(_POSES)
    for picture in pictures:
        decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR_RGB)
        points = points_of_picture(np.asarray(decoded, np.uint8))
        if points is None:
            raise NoFaceError(f"No face is tracked on {character.name}; leave it out.")
        yield _upright(points.astype(np.float64))


def _upright(points: Shape) -> Shape:
    """Without roll, between the eyes, one unit from eye to eye."""
    right, left = points[_RIGHT_EYE].mean(axis=0), points[_LEFT_EYE].mean(axis=0)
    across, down = (left - right)[:2]
    turn = np.array([[across, down], [-down, across]]) / np.hypot(across, down) ** 2
    moved = points - (right + left) / 2
    return np.column_stack([moved[:, :2] @ turn.T, moved[:, 2] / np.hypot(across, down)])


def _twins(face: Shape) -> NDArray[np.intp]:
    """(478,): for each point the one on the other half of the face."""
    apart = np.linalg.norm((face * [-1, 1, 1])[:, None] - face[None], axis=2)
    twins = np.asarray(apart.argmin(axis=1), np.intp)
    for one, other in _TWINS.items():
        twins[one] = other
    return twins


def main(arguments: Sequence[str]) -> None:
    """Write the table of all characters in a folder."""
    folder, output = Path(arguments[0]), Path(arguments[1])
    characters = sorted(folder.glob("*.glb"))
    np.save(output, canonical_faces(characters))


if __name__ == "__main__":
    main(sys.argv[1:])
