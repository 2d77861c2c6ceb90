"""Lengths of time as people type them: 90s, 3m, 1h30m, 8h."""

import re

from engine.errors import KouboError

_PATTERN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def read_duration(text: str) -> float:
    """Seconds. Raises KouboError."""
    found = _PATTERN.fullmatch(text.strip().lower())
    seconds = sum(
        float(number) * size for number, size in zip(found.groups(), (3600, 60, 1), strict=True) if number
    ) if found else 0.0  # fmt: skip
    if seconds <= 0:
        raise KouboError(f"{text!r} is no length of time; give one such as 90s, 3m, 1h30m or 8h.")
    return seconds
