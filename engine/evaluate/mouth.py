"""The mouth of a generated video against that of a true one of the same speech."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from engine.anchor.crop import Picture
from engine.anchor.tracker import Face
from engine.errors import NoFaceError
from engine.evaluate.lips import aperture, compare_lips
from engine.evaluate.pixels import gmsd, gradient_energy, luminance, psnr, ssim
from engine.evaluate.track import NewTracker, Track, check_pair, pictures, track

_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)

Quality = tuple[float, float, float, float, float]
"""PSNR, SSIM, GMSD, gradient energy of ours, gradient energy of the truth: of one picture's mouth."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Likeness of the mouth region's luminance, means over frames: PSNR (dB), SSIM, GMSD (0 is best);
    `sharpness_ratio` gradient energy of generated over reference.
    """

    psnr_mouth: float
    ssim_mouth: float
    gmsd_mouth: float
    sharpness_ratio: float


@dataclass(frozen=True, slots=True)
class MouthScore:
    """The figures of `compare`.

    `psnr_mouth` (dB), `ssim_mouth` and `gmsd_mouth` over the luminance of the reference's mouth region, mean
    over frames; `sharpness_ratio` gradient energy of generated over reference there; `jaw_r`, `aperture_r`,
    `pucker_r` Pearson correlations over time (NaN where nothing moves); `lag_frames` how many frames the
    generated lips come late.
    """

    psnr_mouth: float
    ssim_mouth: float
    gmsd_mouth: float
    sharpness_ratio: float
    jaw_r: float
    aperture_r: float
    pucker_r: float
    lag_frames: int

    def as_json(self) -> dict[str, float | int | None]:
        """For JSON, which knows no NaN: None in its place."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


def compare(generated: Path, reference: Path, new_tracker: NewTracker) -> MouthScore:
    """Measure the video `generated` against `reference`, frame by frame; a fresh tracker follows each.

    Raises BadMediaError when a file is no video or they differ in size or by more than two frames in length,
    NoFaceError when a face is missing in more than a tenth of the frames.
    """
    return compare_tracks(track(generated, new_tracker), track(reference, new_tracker))


def compare_tracks(generated: Track, reference: Track) -> MouthScore:
    """As `compare`, of videos that were tracked already."""
    check_pair(generated, reference)
    faces = reference.faces
    rows = [
        quality(ours, theirs, face)
        for (ours, theirs), mine, face in zip(
            pictures(generated, reference), generated.faces, faces, strict=False
        )
        if mine is not None and face is not None
    ]
    return MouthScore(**asdict(fidelity(rows)), **asdict(compare_lips(generated, reference)))


def quality(ours: Picture, theirs: Picture, face: Face) -> Quality:
    """How like the truth one picture's mouth is, in the region of `face`, the truth's."""
    region = mouth_region(face, theirs.shape[0], theirs.shape[1])
    a, b = (luminance(picture[region]) for picture in (ours, theirs))
    return psnr(a, b), ssim(a, b), gmsd(a, b), gradient_energy(a), gradient_energy(b)


def fidelity(rows: Sequence[Quality]) -> Fidelity:
    """The means over pictures."""
    likeness, structure, deviation, energy, true_energy = (float(value) for value in np.mean(rows, axis=0))
    return Fidelity(likeness, structure, deviation, energy / max(true_energy, 1e-9))


def mouth_region(face: Face, height: int, width: int) -> tuple[slice, slice]:
    """The box around the lips, padded by half its width to the sides and its height above and below.

    Raises NoFaceError when it is smaller than 12 pixels.
    """
    lips = face.landmarks[list(_LIPS)]
    (left, top), (right, bottom) = lips.min(axis=0), lips.max(axis=0)
    pad = 0.25 * float(right - left)
    rows = slice(max(0, int(top - pad)), min(height, int(bottom + 1.6 * pad) + 1))
    columns = slice(max(0, int(left - pad)), min(width, int(right + pad) + 1))
    if rows.stop - rows.start < 12 or columns.stop - columns.start < 12:
        raise NoFaceError("The mouth is smaller than 12 pixels or outside the picture; give a larger face.")
    return rows, columns


def apertures(video: Path, new_tracker: NewTracker) -> list[float]:
    """Inner-lip distance over face height in each picture of `video` that shows a face.

    Raises BadMediaError for no video, NoFaceError when no picture shows one.
    """
    opened = [aperture(face) for face in track(video, new_tracker).faces if face is not None]
    if not opened:
        raise NoFaceError(f"{video.name} shows no face; give a video of a presenter.")
    return opened
