"""How good a mouth is on footage of its person that it did not learn from, and which of two is better.

Likeness on the avatar's resting faces with the filmed mouths on them; lips through the whole live core, held
against the filmed ones, which need no common pose.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from engine.anchor.crop import Crop, Picture, extract
from engine.anchor.package import Avatar
from engine.anchor.tracker import Face
from engine.evaluate.flicker import FlickerMeter
from engine.evaluate.lips import aperture, compare_lips
from engine.evaluate.pixels import gmsd, gradient_energy, luminance, psnr, ssim
from engine.evaluate.seam import SeamMeter
from engine.evaluate.track import NewTracker, Track
from engine.live import LiveAvatar
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.yuv import to_rgb
from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, Samples
from engine.speech.mel import log_mel, window
from training.clip_data import cut_clip
from training.clips import Clip, decode
from training.personal_filmed import Filmed
from training.variation import Variation

_PAD = 0.06  # around the lips' box, share of the crop
_SILENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class PersonalScore:
    """Likeness: `psnr_mouth` (dB), `ssim_mouth`, `gmsd_mouth` (0 is best). Lips against the filmed ones:
    `jaw_r`, `aperture_r`, `pucker_r`, `lag_frames`; `swapped_jaw_r` with sound of another moment.
    `sharpness_ratio` and `flicker_ratio` of the live mouth over the filmed one. `silence_aperture`: widest
    inner lips in silence, over face height. `seam_luma`: levels of 255 that the paste adds along its border.
    """

    psnr_mouth: float
    ssim_mouth: float
    gmsd_mouth: float
    sharpness_ratio: float
    jaw_r: float
    aperture_r: float
    pucker_r: float
    lag_frames: float
    swapped_jaw_r: float
    silence_aperture: float
    flicker_ratio: float
    seam_luma: float

    def rounded(self) -> dict[str, float]:
        """For a report."""
        return {key: round(value, 4) for key, value in asdict(self).items()}


def score(
    avatar: Avatar, mouth: MouthRuntime, clips: Sequence[Clip], filmed: Sequence[Filmed], tracker: NewTracker
) -> PersonalScore:
    """Judges a mouth by held-out clips (of personal_data.write_clips) and the footage they come from."""
    likeness = np.mean([_likeness(clip, mouth, avatar) for clip in clips], axis=0)
    rows = [_live(avatar, mouth, one, tracker) for one in filmed]
    weights = [len(one.mouths) for one in filmed]
    lips = np.array([np.average([row[k] for row in rows], weights=weights) for k in range(len(rows[0]))])
    quiet = _speak(avatar, mouth, np.zeros(round(_SILENCE_S * SAMPLE_RATE), np.float32))
    opened = [aperture(face) for face in _faces(quiet.pictures, tracker) if face is not None]
    values = [*likeness, *lips]
    names = [field.name for field in fields(PersonalScore) if field.name != "silence_aperture"]
    found = {name: float(value) for name, value in zip(names, values, strict=True)}
    return PersonalScore(silence_aperture=max(opened, default=float("nan")), **found)


def paint(clip: Clip, mouth: MouthRuntime) -> tuple[Picture, Picture, Picture]:
    """The resting face (S, S, 3) of a clip; what the mouth paints into it, and the truth (n, S, S, 3)."""
    assert clip.idle is not None
    still = Variation()
    idle, *truth = (
        cut_clip(decode(one), clip.card.margin, mouth.size, still, None)
        for one in (clip.idle, *clip.pictures)
    )
    spectrogram = log_mel(clip.samples)
    mels = np.stack([window(spectrogram, clip.card.lead + tick) for tick in range(clip.card.frames)])
    features = mouth.encode(idle[None])[0]
    return idle, mouth.decode(mels, [features] * len(mels)), np.stack(truth)


def _likeness(clip: Clip, mouth: MouthRuntime, avatar: Avatar) -> tuple[float, float, float]:
    _, painted, truth = paint(clip, mouth)
    box = mouth_square(avatar)
    rows = []
    for ours, theirs in zip(painted, truth, strict=True):
        a, b = luminance(ours[box]), luminance(theirs[box])
        rows.append((psnr(a, b), ssim(a, b), gmsd(a, b)))
    mean = np.mean(rows, axis=0)
    return float(mean[0]), float(mean[1]), float(mean[2])


def mouth_square(avatar: Avatar) -> tuple[slice, slice]:
    """Rows and columns of the lips and what they need to open, in the avatar's crop."""
    left, top, right, bottom = avatar.card.mouth_box
    low, high = top - _PAD, bottom + _PAD + 0.5 * (right - left)
    size = avatar.crop_size

    def span(start: float, stop: float) -> slice:
        return slice(max(0, round(start * size)), min(size, round(stop * size)))

    return span(low, high), span(left - _PAD, right + _PAD)


@dataclass(frozen=True, slots=True)
class _Spoken:
    """What the live core shows: pictures, and the anchor frame of each."""

    pictures: list[Picture]
    frames: list[int]


def _speak(avatar: Avatar, mouth: MouthRuntime, samples: Samples) -> _Spoken:
    live = LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)
    live.push(samples)
    live.finish()
    ticks = [live.tick() for _ in range(round(samples.size / SAMPLE_RATE * FRAME_RATE))]
    return _Spoken([to_rgb(tick.picture) for tick in ticks], [tick.frame for tick in ticks])


def _faces(pictures: Sequence[Picture], new_tracker: NewTracker) -> list[Face | None]:
    tracker = new_tracker()
    try:
        return [tracker.track(one, number * 1000 // FRAME_RATE) for number, one in enumerate(pictures)]
    finally:
        tracker.close()


def _live(avatar: Avatar, mouth: MouthRuntime, one: Filmed, tracker: NewTracker) -> tuple[float, ...]:
    """The live figures of one stretch, in the order of PersonalScore."""
    spoken = _speak(avatar, mouth, one.samples)
    ours = Track(one.faces.video, avatar.size, _faces(spoken.pictures, tracker))
    lips = compare_lips(ours, one.faces)
    half = len(one.faces.faces) // 2
    other = Track(one.faces.video, one.faces.size, [*one.faces.faces[half:], *one.faces.faces[:half]])
    crops: list[Crop] = [avatar.card.crops[frame] for frame in spoken.frames]
    cuts = [extract(each, crop, avatar.crop_size) for each, crop in zip(spoken.pictures, crops, strict=True)]
    box = mouth_square(avatar)
    seams = SeamMeter(avatar.mask(spoken.frames[0]))
    for cut, frame in zip(cuts, spoken.frames, strict=True):
        seams.add(cut, avatar.face(frame))
    drawn, true = ([luminance(each[box]) for each in series] for series in (cuts, one.mouths))
    flickers = FlickerMeter(), FlickerMeter()
    for meter, series in zip(flickers, (drawn, true), strict=True):
        for each in series:
            meter.add(each)
    energy, true_energy = (float(np.mean(list(map(gradient_energy, series)))) for series in (drawn, true))
    return (
        energy / max(true_energy, 1e-9),
        lips.jaw_r,
        lips.aperture_r,
        lips.pucker_r,
        float(abs(lips.lag_frames)),
        compare_lips(ours, other).jaw_r,
        flickers[0].levels / max(flickers[1].levels, 1e-9),
        seams.score().luma_step,
    )


@dataclass(frozen=True, slots=True)
class Rule:
    """How a measure counts: `unit` is one clear step of it; worse by more than `allowed` is a veto."""

    name: str
    unit: float
    allowed: float
    weight: float = 1.0
    best: float | None = None
    """Where it is best; None: the higher (unit > 0) or the lower (unit < 0) the better."""


RULES = (
    Rule("psnr_mouth", 0.5, 0.3),
    Rule("ssim_mouth", 0.01, 0.01),
    Rule("gmsd_mouth", -0.005, 0.005),
    Rule("sharpness_ratio", 0.05, 0.1, best=1.0),
    Rule("jaw_r", 0.03, 0.04, 2.0),
    Rule("aperture_r", 0.03, 0.04, 2.0),
    Rule("pucker_r", 0.05, 0.1, 0.5),
    Rule("lag_frames", -1.0, 0.5),
    Rule("silence_aperture", -0.005, 0.005),
    Rule("flicker_ratio", 0.2, 0.3, 0.5, best=1.0),
    Rule("seam_luma", -0.5, 0.5, 0.5),
)
_MOST = 2.0  # units that one measure can gain or lose
_ENOUGH = 0.1
_LEAK = 0.15
_LONG_S = 10.0  # held-out seconds from which correlations are trusted to their rule


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the new mouth replaces the old one: `score` in units, mean over the measures; `why` a sentence;
    `worse` the measures that speak against it.
    """

    better: bool
    score: float
    worse: list[str]
    why: str


def decide(before: PersonalScore, after: PersonalScore, seconds: float) -> Decision:
    """Better means: the weighted mean of what each measure gains, in units of `RULES`, is at least 0.1, and
    none is worse by more than its rule allows. Correlations over few `seconds` of speech are chance to some
    degree, so they are allowed more.
    """
    old, new = asdict(before), asdict(after)
    total = weights = 0.0
    worse = []
    for rule in RULES:
        gain = _gain(rule, old[rule.name], new[rule.name])
        if gain is None:
            continue
        total += rule.weight * float(np.clip(gain / abs(rule.unit), -_MOST, _MOST))
        weights += rule.weight
        slack = max(1.0, (_LONG_S / max(seconds, 1.0)) ** 0.5) if rule.name.endswith("_r") else 1.0
        if -gain > rule.allowed * slack:
            worse.append(rule.name)
    # Lips that fit another moment nearly as well as their own follow something else than the voice.
    if after.swapped_jaw_r > max(before.swapped_jaw_r + _LEAK, after.jaw_r - _LEAK):
        worse.append("swapped_jaw_r")
    mean = total / max(weights, 1e-9)
    if worse:
        listed = ", ".join(f"{name} {old[name]:.3f} to {new[name]:.3f}" for name in worse)
        return Decision(False, mean, worse, f"it is clearly worse in {listed}")
    if mean < _ENOUGH:
        return Decision(False, mean, worse, f"it is not clearly better (score {mean:.2f}, needs {_ENOUGH})")
    return Decision(True, mean, worse, f"it is better (score {mean:.2f}) and in nothing clearly worse")


def _gain(rule: Rule, old: float, new: float) -> float | None:
    """What was gained, positive for better; None where one of them is unknown."""
    if not (np.isfinite(old) and np.isfinite(new)):
        return None
    if rule.best is not None:
        return abs(old - rule.best) - abs(new - rule.best)
    return (new - old) * (1 if rule.unit > 0 else -1)
