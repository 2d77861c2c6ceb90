"""What follows from an offset and how sure the judge is."""

import pytest

from training.preprocess.limits import Limits
from training.preprocess.sync import decide
from training.sync_score import SyncFinding


def found(offset: int, confidence: float = 0.5, steady: float = 1.0) -> SyncFinding:
    return SyncFinding(offset, confidence, 0.3, steady, [offset])


@pytest.mark.parametrize(("offset", "shift"), [(0, 0), (1, 0), (-1, 0), (2, 2), (-3, -3), (12, 12)])
def test_a_constant_offset_is_mended(offset: int, shift: int) -> None:
    verdict = decide(found(offset), Limits())
    assert (verdict.shift, verdict.reason) == (shift, None)


def test_a_changing_offset_is_dropped() -> None:
    verdict = decide(found(4, steady=0.4), Limits())
    assert verdict.reason == "unsteady_sync"
    assert "40%" in verdict.detail
    assert decide(found(4, steady=0.6), Limits()).reason is None


def test_an_unsure_judge_decides_nothing() -> None:
    verdict = decide(found(7, 0.19, steady=0.1), Limits(min_confidence=0.2))
    assert (verdict.shift, verdict.reason, verdict.sure) == (0, None, False)
    assert decide(found(7, 0.2), Limits(min_confidence=0.2)).shift == 7


def test_strictness_drops_what_cannot_be_shown() -> None:
    limits = Limits(min_confidence=0.2, strict_sync=True)
    verdict = decide(found(0, 0.19), limits)
    assert (verdict.reason, verdict.sure) == ("out_of_sync", False)
    assert "0.190" in verdict.detail
    assert decide(found(0, 0.2), limits).reason is None


def test_windows_that_are_sure_and_disagree_speak_of_a_changing_offset() -> None:
    apart = SyncFinding(0, 0.05, 0.4, 0.5, [0, 9, -12], [0.3, 0.3, 0.01])
    verdict = decide(apart, Limits())
    assert verdict.reason == "unsteady_sync"
    assert "from 0 to 9" in verdict.detail
    near = SyncFinding(1, 0.05, 0.4, 0.5, [0, 2, -12], [0.3, 0.3, 0.01])
    assert decide(near, Limits()).reason is None
