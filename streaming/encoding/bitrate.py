"""How many kilobits a second the pictures of one stream get: reports and times in, a bit rate out."""

from dataclasses import dataclass
from statistics import median

LEAST_SHARE = 1 / 3
"""Of the configured bit rate: less than this would serve nobody."""

REPORT_S = 10.0
"""A report holds for this long; a receiver that has said nothing lately has no complaint."""

LOWER_S = 2.0
"""Between two steps down: the first must show its effect before the next."""

RAISE_S = 5.0
"""Between two steps up."""

RAISE_BY = 1.15
_HEADROOM = 0.85
_CLEARLY = 0.9


@dataclass(frozen=True, slots=True)
class _Report:
    at: float
    kbps: int
    rising: bool


class BitratePolicy:
    """The configured bit rate, less while most receivers cannot take it.

    One is short that reports clearly less than is being sent, and no more than before. Estimates never grow
    far beyond what arrives, and then by some percent a second: one that is below the configured rate, or
    still rising after a calm moment, tells of no narrow link. More than half being short lowers the rate to
    what the middle one of them can take; it comes back in small steps.
    """

    def __init__(self, configured_kbps: int) -> None:
        self.configured_kbps = configured_kbps
        self.kbps = configured_kbps
        self._reports: dict[object, _Report] = {}
        self._changed = float("-inf")

    def report(self, receiver: object, kbps: int, now: float) -> None:
        """What a receiver estimates that it can take (REMB)."""
        before = self._reports.get(receiver)
        self._reports[receiver] = _Report(now, kbps, rising=before is not None and kbps > before.kbps)

    def forget(self, receiver: object) -> None:
        """A receiver has gone."""
        self._reports.pop(receiver, None)

    def update(self, now: float, *, receivers: int, sent_kbps: float, steady: bool) -> int:
        """The bit rate from now on.

        `receivers` counts those who may report, `sent_kbps` is what was sent lately; `steady`: somebody is
        there for whom it must not be lowered.
        """
        if steady:
            self.kbps, self._changed = self.configured_kbps, float("-inf")
            return self.kbps
        fresh = [report for report in self._reports.values() if now - report.at <= REPORT_S]
        enough = _CLEARLY * sent_kbps
        short = [report.kbps for report in fresh if report.kbps < enough and not report.rising]
        since = now - self._changed
        if 2 * len(short) > receivers:
            least = round(self.configured_kbps * LEAST_SHARE)
            lower = max(least, round(_HEADROOM * median(short)))
            if since >= LOWER_S and lower < self.kbps:
                self.kbps, self._changed = lower, now
        elif self.kbps < self.configured_kbps and since >= RAISE_S:
            self.kbps, self._changed = min(self.configured_kbps, round(RAISE_BY * self.kbps)), now
        return self.kbps
