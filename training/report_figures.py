"""The figures of the evaluation report: what each is called, means, and ought to be."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Measure = Literal["fidelity", "lips", "sync", "silence", "flicker", "seam", "leaks"]
Better = Literal["higher", "lower", "near 1", "near 0"]
Column = Literal["truth", "generated", "anchor"]
Mark = Literal["pass", "miss", "no target", "not measured"]
Scores = Mapping[str, float | None]

Curve = Sequence[float | None]

SCHEMA = 1

COLUMNS: tuple[Column, ...] = ("truth", "generated", "anchor")

MEASURES: Mapping[Measure, tuple[str, str]] = {
    "fidelity": ("Likeness", "How much the painted mouth looks like the true one, picture by picture."),
    "lips": ("Lips", "Whether the lips move as the true ones do; an independent face tracker reads both."),
    "sync": ("Lip sync", "Whether the lips fit the sound; a trained discriminator judges each video alone."),
    "silence": ("Silence", "Whether the mouth rests when nobody speaks."),
    "flicker": ("Flicker", "Whether the mouth trembles from picture to picture more than a real one."),
    "seam": ("Seam", "Whether the border of the paste shows. The truth is not 0: chin and cheeks move."),
    "leaks": ("Leak checks", "Whether the mouth listens to the sound, or guesses from the picture."),
}  # fmt: skip
"""Title and one sentence of each measure, in the report's order."""


@dataclass(frozen=True, slots=True)
class Target:
    """Bounds that the generated video should keep; `above_anchor`: of its excess over the anchor's value."""

    text: str
    low: float = -math.inf
    high: float = math.inf
    above_anchor: bool = False

    def met(self, generated: float, anchor: float | None) -> bool | None:
        """Whether the value is inside; None when the anchor's is needed and unknown."""
        if not self.above_anchor:
            return self.low <= generated <= self.high
        return None if anchor is None else self.low <= generated - anchor <= self.high


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report.

    `key` names the value in a recording's scores (`of`, where the line shows another view of it); `over` says
    how recordings are gathered; `reference` marks figures that compare with the truth, whose own value
    is then known beforehand.
    """

    key: str
    measure: Measure
    title: str
    unit: str
    meaning: str
    better: Better
    digits: int = 3
    over: Literal["mean", "median", "lowest", "largest size"] = "mean"
    of: str | None = None
    reference: bool = False
    target: Target | None = None

    def gather(self, recordings: Sequence[Scores]) -> float | None:
        """One value of all recordings, None when none has any."""
        values = [value for scores in recordings if (value := scores.get(self.of or self.key)) is not None]
        if not values:
            return None
        if self.over == "lowest":
            return min(values)
        if self.over == "largest size":
            return max(values, key=abs)
        if self.over == "median":
            return sorted(values)[(len(values) - 1) // 2]
        return sum(values) / len(values)


FIGURES: tuple[Figure, ...] = (
    Figure(
        "psnr_mouth", "fidelity", "PSNR of the mouth", "dB",
        "Error of each pixel's brightness around the lips, on a logarithmic scale; equal pictures count 60.",
        "higher", 1, reference=True,
    ),
    Figure(
        "ssim_mouth", "fidelity", "SSIM of the mouth", "0 to 1",
        "Agreement of local brightness, contrast and structure around the lips.",
        "higher", reference=True,
    ),
    Figure(
        "gmsd_mouth", "fidelity", "Perceptual distance (GMSD)", "0 to 0.35",
        "How unevenly edges agree around the lips; follows human judgement of blur and artefacts.",
        "lower", reference=True,
    ),
    Figure(
        "sharpness_ratio", "fidelity", "Sharpness", "ratio to truth",
        "Energy of edges around the lips over that of the truth; below 1 is softer than life.",
        "near 1", reference=True, target=Target("at least 0.85", low=0.85),
    ),
    Figure(
        "jaw_r", "lips", "Jaw opening", "correlation",
        "Does the jaw open and close together with the true one? 1 is always, 0 is never.",
        "higher", reference=True, target=Target("at least 0.85", low=0.85),
    ),
    Figure(
        "jaw_r_worst", "lips", "Jaw opening, worst recording", "correlation",
        "The same for the recording where it is lowest.",
        "higher", over="lowest", of="jaw_r", reference=True, target=Target("at least 0.75", low=0.75),
    ),
    Figure(
        "aperture_r", "lips", "Lip aperture", "correlation",
        "The same for the distance between the inner lips.",
        "higher", reference=True,
    ),
    Figure(
        "pucker_r", "lips", "Lip rounding", "correlation",
        "The same for rounded lips, as in 'you'.",
        "higher", reference=True,
    ),
    Figure(
        "lag_frames", "lips", "Lag, worst recording", "pictures",
        "By how many pictures of 40 ms the lips come late (negative: early).",
        "near 0", 0, over="largest size", reference=True, target=Target("0", low=0, high=0),
    ),
    Figure(
        "sync_offset", "sync", "Offset", "pictures",
        "By how many pictures of 40 ms the sound comes after its mouth (negative: before).",
        "near 0", 0, over="median", target=Target("within 1", low=-1, high=1),
    ),
    Figure(
        "sync_confidence", "sync", "Confidence", "similarity",
        "How much better the best offset fits than a middling one; more is surer.",
        "higher",
    ),
    Figure(
        "sync_distance", "sync", "Distance", "0 to 1",
        "How far sound and mouth are apart at the best offset.",
        "lower",
    ),
    Figure(
        "silence_aperture", "silence", "Largest opening in two silent seconds", "of face height",
        "Digital silence goes in; inner-lip distance over face height comes out.",
        "lower", 4, target=Target("at most 0.005 above the anchor", high=0.005, above_anchor=True),
    ),
    Figure(
        "pause_aperture", "silence", "Mean opening in pauses of the speech", "of face height",
        "Inner-lip distance while the sound is 30 dB below its loud parts, 160 ms before to 120 ms after.",
        "lower", 4,
    ),
    Figure(
        "flicker", "flicker", "Trembling", "levels of 255",
        "Mean second difference of brightness over time around the mouth.",
        "lower", 2,
    ),
    Figure(
        "flicker_ratio", "flicker", "Trembling over the truth's", "ratio to truth",
        "Above 1 trembles more than the true mouth; a mouth that moves less lies below.",
        "near 1", 2, reference=True,
    ),
    Figure(
        "seam_luma", "seam", "Step in brightness", "levels of 255",
        "Difference across the paste border that the untouched picture does not have.",
        "lower", 2,
    ),
    Figure(
        "seam_chroma", "seam", "Step in colour", "levels of 255",
        "The same for the two colour channels.",
        "lower", 2,
    ),
    Figure(
        "seam_gradient", "seam", "Edge along the border", "ratio to untouched",
        "Slope across the paste border over that of the untouched picture; 1 shows no edge.",
        "near 1", 2,
    ),
    Figure(
        "swapped_jaw_r", "leaks", "Jaw against another sentence", "correlation",
        "The generated jaw against the truth of the next recording, which it must not resemble.",
        "near 0", target=Target("within 0.3", low=-0.3, high=0.3),
    ),
)  # fmt: skip
"""Every line of the report, in order."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of the report with its values; `why` says why the generated one is missing."""

    figure: Figure
    truth: float | None
    generated: float | None
    anchor: float | None
    why: str | None

    @property
    def mark(self) -> Mark:
        """Whether the target is met."""
        if self.generated is None:
            return "not measured"
        if self.figure.target is None:
            return "no target"
        met = self.figure.target.met(self.generated, self.anchor)
        return "no target" if met is None else "pass" if met else "miss"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: `recordings` holds the scores of each column by recording, `jaws` their jaw curves."""

    title: str
    made: str
    lines: list[Line]
    recordings: dict[str, dict[Column, Scores]]
    jaws: dict[str, dict[Column, Curve]] = field(repr=False)

    def summary(self) -> dict[str, float | None]:
        """The generated values by key, rounded."""
        return {
            line.figure.key: None if line.generated is None else round(line.generated, line.figure.digits)
            for line in self.lines
        }

    def as_json(self) -> dict[str, object]:
        """As written to report.json; `summary` holds the generated values alone."""
        figures = [
            {
                "key": line.figure.key,
                "measure": line.figure.measure,
                "title": line.figure.title,
                "meaning": line.figure.meaning,
                "unit": line.figure.unit,
                "better": line.figure.better,
                "target": line.figure.target.text if line.figure.target else None,
                **{column: getattr(line, column) for column in COLUMNS},
                "mark": line.mark,
                "why": line.why,
            }
            for line in self.lines
        ]
        return {
            "schema": SCHEMA,
            "title": self.title,
            "made": self.made,
            "summary": self.summary(),
            "figures": figures,
            "recordings": self.recordings,
        }
