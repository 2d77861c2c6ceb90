"""Where replicas are, and how many a cluster needs: pure parts, in simulated time."""

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from streaming.cluster_directory import Entry, Register
from streaming.cluster_metrics import merged
from streaming.cluster_scaling import SESSIONS, WAITING, SessionsPolicy, replicas_needed
from streaming.cluster_settings import Plan

HERE = Entry("http://127.0.0.1:1", 2, 1)


def test_a_replica_is_there_as_long_as_it_says_so() -> None:
    register = Register(forget_s=5)
    register.enter("a", HERE, 0)
    register.enter("b", HERE, 3)
    assert set(register.ask("gateway", 0, 5)) == {"a", "b"}
    assert register.ask("gateway", 0, 5.1) == {"b": HERE.url}
    register.leave("b")
    register.leave("b")
    assert register.replicas(5.1) == {}


def test_waiting_sessions_of_all_gateways_are_told_to_replicas() -> None:
    register = Register(forget_s=5)
    register.ask("one", 3, 0)
    register.ask("other", 4, 4)
    assert register.enter("a", HERE, 4).waiting == 7
    register.ask("other", 0, 5)
    assert register.enter("a", HERE, 5).waiting == 3
    assert register.enter("a", HERE, 6).waiting == 0  # the first gateway is gone


def test_every_replica_hears_what_to_do() -> None:
    register = Register()
    assert register.enter("a", HERE, 0).phase == "run"
    register.phase = "drain"
    assert register.enter("a", HERE, 1).phase == "drain"
    assert register.enter("new", HERE, 1).phase == "drain"


@pytest.mark.parametrize(
    ("sessions", "waiting", "needed"),
    [(0, 0, 1), (1, 0, 1), (4, 0, 1), (5, 0, 2), (8, 0, 2), (8, 1, 3), (0, 40, 10), (79, 1, 20), (81, 0, 21)],
)
def test_replicas_follow_sessions_and_those_who_wait(sessions: int, waiting: int, needed: int) -> None:
    assert replicas_needed(sessions, waiting, places=5, fill=0.8) == needed


@pytest.mark.parametrize("fill", [0.1, 0.5, 0.8, 1.0])
def test_there_is_always_room_for_what_is_there(fill: float) -> None:
    for sessions in range(200):
        count = replicas_needed(sessions, 0, 6, fill)
        assert count * 6 * fill >= sessions
        assert count == 1 or (count - 1) * 6 * fill < sessions


def told(**figures: list[list[float]]) -> Any:
    """What Serve hands to a policy: a series for each figure and replica."""
    series = {
        name: {index: [SimpleNamespace(value=value) for value in one] for index, one in enumerate(values)}
        for name, values in figures.items()
    }
    return SimpleNamespace(raw_metrics=series)


def test_the_policy_goes_by_what_each_replica_said_last() -> None:
    policy = SessionsPolicy(places=5, fill=0.8)
    assert policy(told()) == (1, {})
    sessions = [[0.0, 9.0, 5.0], [1.0, 5.0], []]
    assert policy(told(**{SESSIONS: sessions})) == (3, {})
    assert policy(told(**{SESSIONS: sessions, WAITING: [[9.0, 2.0], [3.0]]})) == (4, {})


def test_a_plan_holds_together() -> None:
    assert Plan().stop_s > Plan().drain_s
    assert Plan().secret != Plan().secret
    plan = Plan()
    assert plan.link_key == plan.model_copy().link_key != Plan().link_key
    assert plan.secret.get_secret_value() not in repr(plan)
    for odd in ({"least": 3, "most": 2}, {"least": 0}, {"sessions": 0}, {"fill": 0}, {"cpus": -1}):
        with pytest.raises(ValidationError):
            Plan.model_validate(odd)


PAGE = """\
# HELP koubo_ticks_total Ticks.
# TYPE koubo_ticks_total counter
koubo_ticks_total 5.0
# HELP koubo_late_seconds Late.
# TYPE koubo_late_seconds histogram
koubo_late_seconds_bucket{le="0.1"} 2.0
koubo_late_seconds_bucket{le="+Inf"} 3.0
koubo_late_seconds_count 3.0
koubo_late_seconds_sum 0.5
"""


def test_pages_of_figures_are_merged_by_replica() -> None:
    lines = merged({"b": PAGE, "a": PAGE}).decode().splitlines()
    assert 'koubo_ticks_total{replica="a"} 5.0' in lines
    assert 'koubo_ticks_total{replica="b"} 5.0' in lines
    assert 'koubo_late_seconds_bucket{le="0.1",replica="a"} 2.0' in lines
    assert lines.count("# TYPE koubo_late_seconds histogram") == 1
    assert lines.count("# TYPE koubo_ticks_total counter") == 1
    assert len([line for line in lines if not line.startswith("#")]) == 10
    assert merged({}) == b""
