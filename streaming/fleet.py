"""How many machines a number of sessions and viewers needs, and what that costs. Numbers in, numbers out.

What one session and one viewer cost is measured; prices, and what other software carries, are assumed.
Nothing here is rounded but whole machines.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import KouboError

TICK_MS = 40.0
Spread = Literal["direct", "sfu", "cdn"]
"""How pictures reach viewers: WHEP from the replica, an SFU fed by WHIP, or HLS by way of a CDN."""

_GB = 8e6
"""Kilobits of a gigabyte."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What `koubo bench live` tells: processor time in core-ms of each tick of 40 ms, and bits.

    `session_ms`: drawing and encoding of one session; `mouth_ms`: the part of it that a GPU would take over.
    `viewer_ms`: sending to one viewer or outlet. `busy`: the share of the cores that was in use, the bench's
    own clients included, when 99 of 100 pictures still were in time.
    """

    session_ms: float
    mouth_ms: float
    viewer_ms: float
    kbps: float
    busy: float

    def __post_init__(self) -> None:
        values = (self.session_ms, self.viewer_ms, self.kbps)
        if min(values) <= 0 or not 0 <= self.mouth_ms <= self.session_ms or not 0 < self.busy <= 1:
            raise KouboError(
                "Core-ms and kbit/s must be above 0, the mouth a part of the session, and the share of busy "
                "cores above 0 and at most 1."
            )


@dataclass(frozen=True, slots=True)
class Assumed:
    """What was not measured here. Prices in US dollars; `spare`: machines more than needed, as a share, one
    at least (N+1). `gpu_pictures`: pictures a second of a card, `gpu_share`: how much of that it really does.
    """

    cores: int = 32
    core_hour: float = 0.04
    gpu_cores: int = 32
    gpu_hour: float = 3.5
    gpu_pictures: float = 26_144 * 25
    gpu_share: float = 0.25
    spare: float = 0.1
    sfu_viewers: int = 2_000
    sfu_hour: float = 0.64
    sfu_gbps: float = 10.0
    egress_gb: float = 0.02

    def __post_init__(self) -> None:
        if min(self.cores, self.gpu_cores, self.sfu_viewers) < 1 or self.sfu_gbps <= 0:
            raise KouboError("Machines have at least one core, and SFU nodes at least one viewer.")
        if not 0 < self.gpu_share <= 1 or min(self.core_hour, self.gpu_hour, self.egress_gb, self.spare) < 0:
            raise KouboError("Prices and spare machines are not below 0; --gpu-share is above 0, at most 1.")


@dataclass(frozen=True, slots=True)
class Fleet:
    """Machines (spare ones included), gigabits and dollars an hour for so many sessions and viewers."""

    sessions: int
    viewers: int
    spread: Spread
    gpu: bool
    per_machine: int
    """Sessions that one machine carries in time."""
    machines: int
    sfu_nodes: int
    egress_gbps: float
    machines_hour: float
    sfu_hour: float
    egress_hour: float

    @property
    def hour(self) -> float:
        """All together."""
        return self.machines_hour + self.sfu_hour + self.egress_hour


_MOUTH_SHARE = 0.4
"""Of a session's processor time, where nothing better is told; `koubo bench tick` tells it."""


def read_bench(
    figures: Mapping[str, Any], cores: int, mouth_ms: float | None = None, busy: float | None = None
) -> Measured:
    """What a saved run of `bench live` says at its largest step in time; `mouth_ms`, `busy` from elsewhere.

    Without a step in time there is no measured `busy`; where it is given, the smallest step tells the rest.
    Raises KouboError for a run without a step in time, or without figures of the processor.
    """
    steps = sorted(figures.get("steps", []), key=lambda one: int(one["sessions"]))
    in_time = [step for step in steps if step.get("in_time")]
    if not in_time and (busy is None or not steps):
        raise KouboError("No step of that run was in time; measure with fewer sessions, or give --busy.")
    step = in_time[-1] if in_time else steps[0]
    try:
        used = step["cpu_s_per_s"]
        ticks = step["sessions"] * step["fps"] / 1000
        sending = used["sending"] / ticks
        session = (used["total"] - used["sending"]) / ticks
        found = (used["total"] + used["clients"]) / cores
        kbps = step["kbps_per_viewer"]
    except KeyError as error:
        raise KouboError(f"That run has no {error.args[0]}; measure anew with `koubo bench live`.") from error
    part = session * _MOUTH_SHARE if mouth_ms is None else mouth_ms
    return Measured(session, min(part, session), sending, kbps, min(1.0, found) if busy is None else busy)


def fleet(
    sessions: int, viewers: int, spread: Spread, measured: Measured, assumed: Assumed, *, gpu: bool = False
) -> Fleet:
    """What `sessions` sessions with `viewers` viewers, of all together, need. Raises KouboError."""
    if sessions < 1 or viewers < 0:
        raise KouboError("There must be one session at least, and no fewer than 0 viewers.")
    # An SFU and a CDN are fed by one outlet of each session; sending HLS is taken to cost what WHIP does.
    sent = viewers / sessions if spread == "direct" else 1.0
    own = measured.session_ms - (measured.mouth_ms if gpu else 0.0)
    core_ms = own + sent * measured.viewer_ms
    cores = assumed.gpu_cores if gpu else assumed.cores
    room = int(cores * measured.busy * TICK_MS / core_ms)
    if gpu:
        room = min(room, int(assumed.gpu_pictures * assumed.gpu_share / (1000 / TICK_MS)))
    if room < 1:
        raise KouboError(
            "One machine cannot carry a session with so many viewers; spread them by an SFU or CDN."
        )
    machines = with_spare(math.ceil(sessions / room), assumed.spare)
    price = cores * assumed.core_hour + (assumed.gpu_hour if gpu else 0.0)
    kbps = viewers * measured.kbps
    nodes = 0
    if spread == "sfu" and viewers:
        by_network = assumed.sfu_gbps * 1e6 / measured.kbps
        nodes = with_spare(math.ceil(viewers / min(assumed.sfu_viewers, by_network)), assumed.spare)
    return Fleet(
        sessions=sessions,
        viewers=viewers,
        spread=spread,
        gpu=gpu,
        per_machine=room,
        machines=machines,
        sfu_nodes=nodes,
        egress_gbps=kbps / 1e6,
        machines_hour=machines * price,
        sfu_hour=nodes * assumed.sfu_hour,
        egress_hour=kbps * 3600 / _GB * assumed.egress_gb,
    )


def with_spare(machines: int, share: float) -> int:
    """Machines with those in reserve: one at least, so that the loss of one is no loss of room (N+1)."""
    return machines + max(1, math.ceil(machines * share))


def break_even(measured: Measured, assumed: Assumed, most: int = 100_000) -> int | None:
    """The least number of sessions from which on GPUs cost no more than cores alone; None up to `most`."""
    found = None
    for sessions in _ladder(most):
        cpu = fleet(sessions, 0, "cdn", measured, assumed)
        gpu = fleet(sessions, 0, "cdn", measured, assumed, gpu=True)
        if gpu.machines_hour > cpu.machines_hour:
            found = None
        elif found is None:
            found = sessions
    return found


def _ladder(most: int) -> list[int]:
    """Every number up to 200, then steps of half a percent."""
    steps = list(range(1, min(most, 200) + 1))
    while steps[-1] < most:
        steps.append(min(most, math.ceil(steps[-1] * 1.005)))
    return steps
