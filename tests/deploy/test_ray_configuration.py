"""The cluster's files: what they name exists, and what they set is understood."""

import re
from importlib import import_module
from typing import Any

import pytest

from streaming.cluster_settings import Plan
from tests.deploy.test_images import DEPLOY, load_yaml


def service() -> dict[str, Any]:
    found: dict[str, Any] = load_yaml(DEPLOY / "rayservice.yaml")
    return found


def serve_config() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    found: dict[str, Any] = yaml.safe_load(service()["spec"]["serveConfigV2"])
    return found


def test_the_application_is_the_one_of_koubo_serve() -> None:
    (application,) = serve_config()["applications"]
    module, name = application["import_path"].split(":")
    assert callable(getattr(import_module(module), name))
    assert application["name"] == import_module(module).APPLICATION
    assert application["args"].keys() <= Plan.model_fields.keys()
    Plan.model_validate(application["args"])


def test_a_machine_carries_a_replica_and_lets_its_sessions_end() -> None:
    (application,) = serve_config()["applications"]
    plan = Plan.model_validate(application["args"])
    (group,) = service()["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    pod = group["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= plan.stop_s
    assert float(pod["containers"][0]["resources"]["limits"]["cpu"]) >= plan.cpus
    assert pod["hostNetwork"] is True
    assert (group["minReplicas"], group["maxReplicas"]) == (plan.least, plan.most)


def test_a_server_that_listens_for_others_has_tokens() -> None:
    assert serve_config()["http_options"]["host"] == "0.0.0.0"
    pods = service()["spec"]["rayClusterConfig"]
    containers = pods["headGroupSpec"]["template"]["spec"]["containers"]
    containers += pods["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    for container in containers:
        assert "KOUBO_OPERATE_TOKENS" in {entry["name"] for entry in container["env"]}


def test_serve_understands_its_part() -> None:
    schema = pytest.importorskip("ray.serve.schema", reason="Ray Serve is not installed")
    schema.ServeDeploySchema.model_validate(serve_config())


def test_the_image_builds_on_the_plain_one() -> None:
    text = (DEPLOY / "ray.Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^FROM \$\{KOUBO\}$", text, re.MULTILINE)
    assert text.rstrip().splitlines()[-1].startswith("CMD")
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE), "it must not run as root"
    image = re.search(r"-t (koubo-ray:\S+)", text)
    assert image is not None
    assert image[1] in (DEPLOY / "rayservice.yaml").read_text(encoding="utf-8")
