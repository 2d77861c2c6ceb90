"""Is footage fit to become an avatar? Each finding says what is seen, where, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.anchor.survey import Survey

Severity = Literal["problem", "advice"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing seen in the footage.

    `code` names its kind, such as "face-small". A "problem" leaves no usable avatar, an "advice" would make a
    better one. `sentence` is English; `values` are the figures in it, for translations. `at_s` is where it is
    first seen, None when it concerns the whole file.
    """

    code: str
    severity: Severity
    sentence: str
    values: dict[str, float | str] = field(default_factory=dict)
    at_s: float | None = None


def check(survey: Survey) -> list[Finding]:
    """What is to be said about the footage: problems first, each kind once."""
    raise NotImplementedError


def problems(findings: Sequence[Finding]) -> list[Finding]:
    """Those that leave no usable avatar."""
    return [finding for finding in findings if finding.severity == "problem"]
