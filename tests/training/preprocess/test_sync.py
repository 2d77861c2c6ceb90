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


def test_a_mouth_that_goes_with_nothing_is_dropped() -> None:
    limits = Limits(min_confidence=0.2)
    assert decide(found(0, 0.19), limits).reason == "out_of_sync"
    assert decide(found(0, 0.2), limits).reason is None
