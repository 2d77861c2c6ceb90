import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from commands import doctor
from commands.doctor import Finding, examine
from engine.errors import KouboError, MissingToolError
from engine.mouth import choose, gpu
from engine.mouth.gpu import Gpu
from koubo import app


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Gpu:
        raise MissingToolError("This machine has no NVIDIA driver.")

    monkeypatch.setattr(gpu, "find_gpu", none)
    monkeypatch.setattr(choose, "find_gpu", none)


def found(what: str) -> Finding:
    return next(finding for finding in examine() if finding.what == what)


@pytest.mark.usefixtures("no_gpu")
def test_a_machine_without_gpu_serves_and_is_told_why_not_faster() -> None:
    findings = {finding.what: finding for finding in examine()}
    assert findings["runtime"].state == "ok"
    assert "openvino" in findings["runtime"].says
    assert "no NVIDIA driver" in findings["runtime"].says
    assert findings["GPU"].state == "missing"
    assert "ada" in findings["presenters"].says
    assert all(findings[what].state == "ok" for what in ("machine", "openvino", "voices"))


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Gpu(0, "NVIDIA H200", "9.0", "580.65.06", 150 * 2**30)
    monkeypatch.setattr(gpu, "find_gpu", lambda: card)
    monkeypatch.setattr(doctor, "_runtime", lambda: "")
    assert found("GPU").says == "NVIDIA H200, 150 GiB, capability 9.0, driver 580.65.06"


def test_an_absent_package_comes_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("importlib.import_module", absent)
    monkeypatch.setattr(doctor, "_runtime", lambda: "")
    finding = found("tensorrt")
    assert finding.state == "missing"
    assert "koubo[gpu]" in finding.says


def test_a_package_that_no_installer_knows_counts_as_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    monkeypatch.setattr(doctor, "_runtime", lambda: "")
    assert (found("tensorrt").state, found("tensorrt").says) == ("ok", "installed, of unknown version")


def test_a_package_whose_libraries_are_missing_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr("importlib.import_module", broken)
    monkeypatch.setattr(doctor, "_runtime", lambda: "")
    assert "libnvinfer.so.11" in found("tensorrt").says


def test_what_serving_needs_and_does_not_work_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken() -> str:
        raise KouboError("The mouth is damaged.")

    monkeypatch.setattr(doctor, "_runtime", broken)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "broken" in done.output


@pytest.mark.usefixtures("no_gpu")
def test_findings_are_given_as_a_table_or_as_json() -> None:
    table = CliRunner().invoke(app, ["doctor"])
    assert table.exit_code == 0
    assert "Koubo on this machine" in table.output
    told = CliRunner().invoke(app, ["doctor", "--json"])
    findings = json.loads(told.output)
    assert {"what", "needed", "state", "says"} == set(findings[0])
