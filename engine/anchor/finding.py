"""What is said about footage."""

from dataclasses import dataclass, field
from typing import Literal

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
