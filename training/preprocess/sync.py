"""Step 6, sync: what the judge found of a clip, and what follows from it."""

from dataclasses import dataclass

from training.preprocess.limits import Limits
from training.sync_score import SyncFinding


@dataclass(frozen=True, slots=True)
class Verdict:
    """`shift`: ticks by which the sound is taken later; `sure`: whether the judge could tell; `reason` and
    `detail` where the clip is dropped.
    """

    shift: int = 0
    sure: bool = True
    reason: str | None = None
    detail: str = ""


def decide(finding: SyncFinding, limits: Limits) -> Verdict:
    """Keep, shift or drop: a constant offset is mended, a changing one is not.

    A judge that is not sure decides nothing: unless `strict_sync` asks for proof, the clip stays as it is.
    """
    if spread := _disagreement(finding, limits):
        return Verdict(reason="unsteady_sync", detail=spread)
    if finding.confidence < limits.min_confidence:
        if not limits.strict_sync:
            return Verdict(sure=False)
        detail = f"confidence {finding.confidence:.3f}, needs {limits.min_confidence:.3f}"
        return Verdict(sure=False, reason="out_of_sync", detail=detail)
    if finding.steady < limits.min_steady:
        detail = f"{finding.steady:.0%} of the windows agree, needs {limits.min_steady:.0%}"
        return Verdict(reason="unsteady_sync", detail=detail)
    return Verdict(shift=finding.offset if abs(finding.offset) > limits.keep_offset else 0)


def _disagreement(finding: SyncFinding, limits: Limits) -> str:
    """How far windows are apart that are sure of their own offset; empty where they agree."""
    sure = [
        offset
        for offset, confidence in zip(finding.windows, finding.window_confidence, strict=False)
        if confidence >= limits.min_window_confidence
    ]
    if not sure or max(sure) - min(sure) <= 2 * limits.keep_offset:
        return ""
    return f"offsets from {min(sure)} to {max(sure)} ticks in one clip"
