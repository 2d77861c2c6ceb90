"""Is footage fit to become an avatar? Each finding says what is seen, where, and what to do."""

from collections.abc import Sequence

from engine.anchor.finding import Finding as Finding
from engine.anchor.survey import Survey


def check(survey: Survey) -> list[Finding]:
    """What is to be said about the footage: problems first, each kind once."""
    raise NotImplementedError


def problems(findings: Sequence[Finding]) -> list[Finding]:
    """Those that leave no usable avatar."""
    return [finding for finding in findings if finding.severity == "problem"]
