"""`koubo bench faults`: choice, table and JSON. The faults themselves are slow tests."""

import json

import pytest
from typer.testing import CliRunner

from commands.bench import app
from engine.errors import KouboError
from streaming import bench_fault_mouth
from streaming.bench_faults import Command, Figure, at_most, told


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def killed(command: Command) -> list[Figure]:
        return [
            at_most("killed", "ticks lost", 0, 0),
            at_most("killed", "late", 2, 1),
            told("killed", "p99", 3, "ms"),
        ]

    monkeypatch.setattr(bench_fault_mouth, "mouth_killed", killed)


@pytest.mark.usefixtures("fault")
def test_figures_are_shown_with_their_targets() -> None:
    shown = CliRunner().invoke(app, ["faults", "--only", "mouth"], catch_exceptions=False).output
    for words in ("killed", "ticks lost", "<= 0", "met", "missed", "3 ms"):
        assert words in shown


@pytest.mark.usefixtures("fault")
def test_as_json_they_are_all_there() -> None:
    result = CliRunner().invoke(app, ["faults", "--only", "mouth", "--json"], catch_exceptions=False)
    figures = json.loads(result.stdout)
    assert figures["missed"] == 1
    assert figures["faults"]["killed"]["late"] == {"value": 2, "unit": "", "target": "<= 1", "met": False}


def test_an_unknown_fault_is_named() -> None:
    with pytest.raises(KouboError, match="no fault 'flood'; choose among mouth, network"):
        CliRunner().invoke(app, ["faults", "--only", "flood"], catch_exceptions=False)
