"""Step 6, sync: what the judge found of a clip, and what follows from it."""

from dataclasses import dataclass

from training.preprocess.limits import Limits
from training.sync_score import SyncFinding


@dataclass(frozen=True, slots=True)
class Verdict:
    """`shift`: ticks by which the sound is taken later; `reason` and `detail` where the clip is dropped."""

    shift: int = 0
    reason: str | None = None
    detail: str = ""


def decide(finding: SyncFinding, limits: Limits) -> Verdict:
    """Keep, shift or drop: a constant offset is mended, a changing one is not, and low confidence means that
    the mouth does not go with the sound at any offset.
    """
    if finding.confidence < limits.min_confidence:
        return Verdict(
            reason="out_of_sync",
            detail=f"confidence {finding.confidence:.3f}, needs {limits.min_confidence:.3f}",
        )
    if finding.steady < limits.min_steady:
        return Verdict(
            reason="unsteady_sync",
            detail=f"{finding.steady:.0%} of the windows agree, needs {limits.min_steady:.0%}",
        )
    return Verdict(shift=finding.offset if abs(finding.offset) > limits.keep_offset else 0)
