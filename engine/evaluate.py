"""How good a generated mouth is, measured against a reference video of the same speech."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.anchor.tracker import Face, FaceTracker
from engine.errors import BadMediaError, NoFaceError
from engine.picture.video import read_rgb
from engine.speech.audio import FRAME_RATE, SAMPLES_PER_TICK, load_speech

Series = NDArray[np.float64]

MAX_LAG = 5
"""Frames to either side in which a shift of the lips is looked for."""

LENGTH_TOLERANCE = 2
"""Frames by which the two videos may differ in length."""

_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_UPPER_LIP, _LOWER_LIP, _FOREHEAD, _CHIN = 13, 14, 10, 152
_MIN_FACES = 0.9  # share of frames in which both faces must be found
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True, slots=True)
class MouthScore:
    """The figures of `compare`.

    `psnr_mouth` (dB) and `ssim_mouth` over the luminance of the reference's mouth region, mean over frames;
    `sharpness_ratio` gradient energy of generated over reference there; `jaw_r`, `aperture_r`, `pucker_r`
    Pearson correlations over time (NaN where nothing moves); `lag_frames` how many frames the generated lips
    come late.
    """

    psnr_mouth: float
    ssim_mouth: float
    sharpness_ratio: float
    jaw_r: float
    aperture_r: float
    pucker_r: float
    lag_frames: int

    def as_json(self) -> dict[str, float | int | None]:
        """For JSON, which knows no NaN: None in its place."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


@dataclass(slots=True)
class _Lips:
    """What the tracker reads from one video over time."""

    jaw: list[float]
    aperture: list[float]
    pucker: list[float]

    def add(self, face: Face) -> None:
        height = float(np.linalg.norm(face.landmarks[_FOREHEAD] - face.landmarks[_CHIN]))
        gap = float(np.linalg.norm(face.landmarks[_UPPER_LIP] - face.landmarks[_LOWER_LIP]))
        self.aperture.append(gap / max(height, 1e-6))
        self.jaw.append(face.blendshapes["jawOpen"])
        self.pucker.append(face.blendshapes["mouthPucker"])


def compare(generated: Path, reference: Path, new_tracker: Callable[[], FaceTracker]) -> MouthScore:
    """Measure the video `generated` against `reference`, frame by frame; a fresh tracker follows each.

    Raises BadMediaError when a file is no video or they differ in size or by more than two frames in length,
    NoFaceError when a face is missing in more than a tenth of the frames.
    """
    ours, theirs = new_tracker(), new_tracker()
    mine, truth = _Lips([], [], []), _Lips([], [], [])
    quality: list[tuple[float, float, float, float]] = []
    lost = {generated: 0, reference: 0}
    frames = 0
    try:
        for ours_rgb, theirs_rgb in _pairs(generated, reference):
            time = frames * 1000 // FRAME_RATE
            frames += 1
            face, true_face = ours.track(ours_rgb, time), theirs.track(theirs_rgb, time)
            lost[generated] += face is None
            lost[reference] += true_face is None
            if face is None or true_face is None:
                continue
            mine.add(face)
            truth.add(true_face)
            quality.append(_quality(ours_rgb, theirs_rgb, true_face))
    finally:
        ours.close()
        theirs.close()
    for path, count in lost.items():
        if count > (1 - _MIN_FACES) * frames:
            raise NoFaceError(
                f"{path.name} shows no face in {count} of {frames} frames; give a video of one talking face."
            )
    return _score(mine, truth, quality)


def apertures(video: Path, new_tracker: Callable[[], FaceTracker]) -> list[float]:
    """Inner-lip distance over face height in each picture of `video` that shows a face.

    Raises BadMediaError for no video, NoFaceError when no picture shows one.
    """
    tracker = new_tracker()
    lips = _Lips([], [], [])
    try:
        for number, picture in enumerate(read_rgb(video)):
            face = tracker.track(picture, number * 1000 // FRAME_RATE)
            if face is not None:
                lips.add(face)
    finally:
        tracker.close()
    if not lips.aperture:
        raise NoFaceError(f"{video.name} shows no face; give a video of a presenter.")
    return lips.aperture


def _pairs(generated: Path, reference: Path) -> Iterator[tuple[Picture, Picture]]:
    first, second = read_rgb(generated), read_rgb(reference)
    count = 0
    while True:
        ours, theirs = next(first, None), next(second, None)
        if ours is None or theirs is None:
            break
        if ours.shape != theirs.shape:
            raise BadMediaError(
                f"{generated.name} is {ours.shape[1]}x{ours.shape[0]} and {reference.name} "
                f"{theirs.shape[1]}x{theirs.shape[0]}; give two videos of the same size."
            )
        count += 1
        yield ours, theirs
    rest = sum(1 for _ in first) + sum(1 for _ in second) + (ours is not None) + (theirs is not None)
    if rest > LENGTH_TOLERANCE:
        raise BadMediaError(
            f"{generated.name} and {reference.name} differ by {rest} frames after {count}; "
            "give two videos of the same speech and length."
        )


def _score(mine: _Lips, truth: _Lips, quality: Sequence[tuple[float, float, float, float]]) -> MouthScore:
    psnr, ssim, energy, true_energy = np.mean(quality, axis=0)
    return MouthScore(
        psnr_mouth=float(psnr),
        ssim_mouth=float(ssim),
        sharpness_ratio=float(energy / max(float(true_energy), 1e-9)),
        jaw_r=correlation(mine.jaw, truth.jaw),
        aperture_r=correlation(mine.aperture, truth.aperture),
        pucker_r=correlation(mine.pucker, truth.pucker),
        lag_frames=_lag(mine, truth),
    )


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's r of two series of equal length; NaN when either does not move."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(a) < 2 or a.std() < 1e-9 or b.std() < 1e-9:
        return float("nan")
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()))


def _lag(mine: _Lips, truth: _Lips) -> int:
    """The shift of best correlation of the aperture; the jaw decides where that is equal to 0.001."""

    def fit(lag: int) -> tuple[float, float, int]:
        pairs = ((mine.aperture, truth.aperture), (mine.jaw, truth.jaw))
        aperture, jaw = (_shifted(a, b, lag) for a, b in pairs)
        return round(aperture, 3), jaw, -abs(lag)

    return max(range(-MAX_LAG, MAX_LAG + 1), key=fit)


def _shifted(mine: Sequence[float], truth: Sequence[float], lag: int) -> float:
    """Correlation when mine comes `lag` frames after truth; -1 when that cannot be said."""
    count = len(mine) - abs(lag)
    if count < 2:
        return -1.0
    r = correlation(mine[max(lag, 0) :][:count], truth[max(-lag, 0) :][:count])
    return -1.0 if r != r else r


def _quality(ours: Picture, theirs: Picture, face: Face) -> tuple[float, float, float, float]:
    """PSNR, SSIM, and the gradient energies of generated and reference, in the reference's mouth region."""
    region = _mouth_region(face, theirs.shape[0], theirs.shape[1])
    a, b = (luminance(picture[region]) for picture in (ours, theirs))
    error = float(np.mean((a - b) ** 2))
    # 8-bit pictures that are equal would have no bound.
    psnr = min(60.0, 10 * np.log10(255**2 / max(error, 1e-9)))
    return float(psnr), ssim(a, b), gradient_energy(a), gradient_energy(b)


def _mouth_region(face: Face, height: int, width: int) -> tuple[slice, slice]:
    """The box around the lips, padded by half its width to the sides and its height above and below."""
    lips = face.landmarks[list(_LIPS)]
    (left, top), (right, bottom) = lips.min(axis=0), lips.max(axis=0)
    pad = 0.25 * float(right - left)
    rows = slice(max(0, int(top - pad)), min(height, int(bottom + 1.6 * pad) + 1))
    columns = slice(max(0, int(left - pad)), min(width, int(right + pad) + 1))
    if rows.stop - rows.start < 12 or columns.stop - columns.start < 12:
        raise NoFaceError("The mouth is smaller than 12 pixels or outside the picture; give a larger face.")
    return rows, columns


def luminance(rgb: Picture) -> Series:
    """Rec. 601 luma, float64 (h, w), of RGB uint8 (h, w, 3)."""
    luma: Series = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return luma


def gradient_energy(luma: Series) -> float:
    """Mean squared Sobel gradient (Tenengrad); the sum over frames weights each by its own detail."""
    across = cv2.Sobel(luma, cv2.CV_64F, 1, 0)
    down = cv2.Sobel(luma, cv2.CV_64F, 0, 1)
    return float(np.mean(across**2 + down**2))


def ssim(first: Series, second: Series) -> float:
    """Mean structural similarity (Wang et al. 2004): luminance in [0, 255], Gaussian 11x11 of sigma 1.5."""

    def blur(picture: Series) -> Series:
        smooth = cv2.GaussianBlur(picture, (11, 11), 1.5)
        return np.asarray(smooth[5:-5, 5:-5], np.float64)

    mean_a, mean_b = blur(first), blur(second)
    var_a = blur(first * first) - mean_a**2
    var_b = blur(second * second) - mean_b**2
    cov = blur(first * second) - mean_a * mean_b
    top = (2 * mean_a * mean_b + _C1) * (2 * cov + _C2)
    return float(np.mean(top / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2))))


@dataclass(frozen=True, slots=True)
class VoiceScore:
    """How a mouth goes with the voice in its own video, no truth at hand.

    `aperture_loudness_r`: best correlation within two frames of each other; `aperture_voiced` and
    `aperture_silent`: mean inner-lip distance over face height in the loudest half and the quietest fifth.
    """

    aperture_loudness_r: float
    aperture_voiced: float
    aperture_silent: float


def follow_voice(video: Path, new_tracker: Callable[[], FaceTracker]) -> VoiceScore:
    """Judge a talking video by its own sound; raises BadMediaError and NoFaceError as `apertures` does."""
    opened = np.array(apertures(video, new_tracker))
    samples = load_speech(video)
    frames = min(opened.size, samples.size // SAMPLES_PER_TICK)
    ticks = samples[: frames * SAMPLES_PER_TICK].reshape(frames, -1)
    level = np.sqrt(np.mean(ticks.astype(np.float64) ** 2, axis=1))
    loudness = np.convolve(level, np.ones(3) / 3, mode="same")
    opened = opened[:frames]
    fits = [_shifted(opened.tolist(), loudness.tolist(), lag) for lag in range(-2, 3)]
    voiced, silent = loudness >= np.median(loudness), loudness <= np.percentile(loudness, 20)
    return VoiceScore(
        round(max(fits), 3), round(float(opened[voiced].mean()), 4), round(float(opened[silent].mean()), 4)
    )
