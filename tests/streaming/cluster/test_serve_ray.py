"""`koubo serve --ray` without Ray: what it makes of its options, and what it refuses."""

import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.errors import KouboError, MissingToolError
from koubo import app
from streaming.cluster import application, deploy
from streaming.cluster_replica import replica_settings
from streaming.cluster_settings import Plan
from streaming.settings import Settings

TOKEN = "operate-operate-operate"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command hands on."""
    found: dict[str, Any] = {}

    def serve_on_ray(settings: Settings, plan: Plan, address: str | None, tell: object) -> None:
        found.update(settings=settings, plan=plan, address=address)

    monkeypatch.setattr("streaming.cluster.serve_on_ray", serve_on_ray)
    return found


def serve(*options: str) -> None:
    result = CliRunner().invoke(app, ["serve", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_the_defaults_are_one_replica_here(given: dict[str, Any]) -> None:
    serve("--ray")
    plan = given["plan"]
    assert (plan.least, plan.most, plan.sessions, plan.cpus, plan.gpus) == (1, 1, 4, 2.0, 0.0)
    assert given["address"] is None


def test_every_option_is_heard(given: dict[str, Any]) -> None:
    shares = ["--sessions-per-replica", "9", "--replica-cpus", "0.5", "--replica-gpus", "0.25"]
    serve("--ray-address", "auto", "--replicas", "2:8", *shares, "--port", "9000")
    plan = given["plan"]
    assert (plan.least, plan.most, plan.sessions, plan.cpus, plan.gpus) == (2, 8, 9, 0.5, 0.25)
    assert (given["address"], given["settings"].port) == ("auto", 9000)


@pytest.mark.parametrize("odd", ["", "0", "3:2", "a", "1:b", "2:3:4", "-1"])
def test_an_odd_number_of_replicas_is_refused(given: dict[str, Any], odd: str) -> None:
    with pytest.raises(KouboError, match="--replicas is MIN:MAX"):
        serve("--ray", f"--replicas={odd}")


def test_a_certificate_is_for_the_proxy(given: dict[str, Any]) -> None:
    with pytest.raises(KouboError, match="proxy in front"):
        serve("--ray", "--tls-cert", "a.pem", "--tls-key", "b.pem")


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingToolError, match=r"pip install 'koubo\[ray\]'"):
        application(Settings(), Plan())


def test_no_cluster_is_open_to_everybody() -> None:
    with pytest.raises(KouboError, match="lets everybody in"):
        deploy(Settings(host="0.0.0.0"), Plan())


def test_unusable_tokens_are_told_here() -> None:
    with pytest.raises(KouboError, match="at least 16"):
        deploy(Settings.model_validate({"operate_tokens": ("short",)}), Plan())


def test_replicas_know_no_token_and_count_no_address() -> None:
    settings = Settings.model_validate(
        {"operate_tokens": (TOKEN,), "watch_tokens": (TOKEN,), "allowed_origins": ("*",), "max_sessions": 1}
    )
    replica = replica_settings(settings, Plan(sessions=7, drain_s=99))
    assert (replica.operate_tokens, replica.watch_tokens, replica.allowed_origins) == ((), (), ())
    assert (replica.max_sessions, replica.drain_s) == (7, 99)
    assert min(replica.sessions_at_once, replica.requests_at_once, replica.connections_at_once) > 100_000
    assert replica.max_body_bytes == settings.max_body_bytes
