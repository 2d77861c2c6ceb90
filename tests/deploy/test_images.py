"""The Dockerfile, the compose file and what it mounts, as far as can be told without a container engine."""

import fnmatch
import json
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from streaming.config_file import load_settings
from streaming.drain import CLOSE_S
from streaming.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SERVED = {"commands", "engine", "streaming", "trt_build", "web_client", "avatars"}
"""What `koubo serve` needs of the repository."""

BUILD_TOOLS = ("gcc", "g++", "make", "build-essential", "git", "curl", "wget")
SECRETS = ("OPERATE_TOKEN", "WATCH_TOKEN", "TURN_SECRET", "SFU_PASSWORD", "GRAFANA_PASSWORD")


def load_yaml(path: Path) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """(name, rest) of each instruction of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def last_stage() -> list[tuple[str, str]]:
    every = instructions()
    start = max(index for index, (name, _) in enumerate(every) if name == "FROM")
    return every[start:]


def copied() -> list[str]:
    """What is copied from the repository, in any stage."""
    sources: list[str] = []
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            sources += rest.split()[:-1]
    return sources


def seconds(text: str) -> float:
    assert text.endswith("s"), text
    return float(text[:-1])


def environment(stage: list[tuple[str, str]]) -> dict[str, str]:
    pairs = " ".join(rest for name, rest in stage if name == "ENV").split()
    return dict(pair.split("=", 1) for pair in pairs)


def test_images_are_named_by_version() -> None:
    froms = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    images = [service["image"] for service in compose()["services"].values()]
    for image in [*froms, *images]:
        name, _, tag = image.partition(":")
        assert re.search(r"\d+\.\d+", tag), f"{name} is not pinned"
    assert len(set(froms)) == 1


def test_the_final_image_has_no_tools_to_build_with_and_no_root() -> None:
    stage = last_stage()
    assert len([name for name, _ in instructions() if name == "FROM"]) == 2
    for name, rest in stage:
        if name == "RUN":
            assert not re.search(r"\b(apt-get|pip|npm)\b", rest)
            assert not any(tool in rest.split() for tool in BUILD_TOOLS)
    users = [rest for name, rest in stage if name == "USER"]
    assert users
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", users[-1])
    # Nothing is done as root after that.
    after = [name for name, _ in stage][[name for name, _ in stage].index("USER") :]
    assert "RUN" not in after
    assert "COPY" not in after


def test_what_is_copied_is_there_is_sent_and_is_enough() -> None:
    sources = copied()
    for source in sources:
        assert (ROOT / source).exists(), source
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    assert "*" in rules
    for source in sources:
        assert f"!{source}" in rules, f"{source} is not sent to the builder"
    for rule in rules:
        if rule.startswith("!"):
            assert any(fnmatch.fnmatch(source, rule[1:]) for source in sources), f"{rule} is not needed"
    assert set(sources) >= SERVED


def test_it_starts_without_a_shell() -> None:
    stage = dict(last_stage())
    assert json.loads(stage["ENTRYPOINT"]) == ["koubo"]
    assert json.loads(stage["CMD"]) == ["serve"]
    assert stage["STOPSIGNAL"] == "SIGTERM"


def test_its_environment_is_of_settings_that_exist() -> None:
    names = {name for name in environment(last_stage()) if name.startswith("KOUBO_")}
    known = {f"KOUBO_{name.upper()}" for name in Settings.model_fields} | {"KOUBO_CACHE", "KOUBO_AVATARS"}
    assert names <= known


class _Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_asks_the_server(status: int, healthy: bool) -> None:
    """The very command of the image, against a server."""
    check = dict(last_stage())["HEALTHCHECK"]
    command = json.loads(check[check.index("[") :])
    assert command[0] == "python"
    server = HTTPServer(("127.0.0.1", 0), type("Health", (_Health,), {"status": status}))
    answering = threading.Thread(target=server.serve_forever)
    answering.start()
    try:
        done = subprocess.run(
            ["python3", *command[1:]],
            env={"KOUBO_PORT": str(server.server_port), "PATH": "/usr/bin:/usr/local/bin"},
            capture_output=True,
            timeout=30,
            check=False,
        )
    finally:
        server.shutdown()
        answering.join()
        server.server_close()
    assert (done.returncode == 0) is healthy
    port = Settings.model_fields["port"].default
    assert f"'KOUBO_PORT', {port}" in command[2]
    assert f"{port}/tcp" in dict(last_stage())["EXPOSE"]


def compose() -> Any:
    return load_yaml(DEPLOY / "compose.yaml")


def variables() -> dict[str, str]:
    """The variables of env.example, each with a value that looks like one."""
    lines = (DEPLOY / "env.example").read_text(encoding="utf-8").splitlines()
    return {line[:-1]: f"value-of-{line[:-1]}" for line in lines if line.endswith("=")}


def substituted(value: Any) -> Any:
    """As the compose tool does it, for ${NAME}, ${NAME:-default} and ${NAME:?message}."""
    if isinstance(value, dict):
        return {key: substituted(part) for key, part in value.items()}
    if isinstance(value, list):
        return [substituted(part) for part in value]
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)(?::[-?][^}]*)?\}", lambda found: variables()[found[1]], value)
    return value


def test_every_variable_is_explained_and_used() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) | {"WATCH_TOKEN"} == set(variables())
    for name in SECRETS:
        assert name in variables()
    for found in re.finditer(r"\$\{(\w+):-", text):
        # Only what a profile alone needs may be missing.
        assert found[1] == "GRAFANA_PASSWORD"
    example = (DEPLOY / "env.example").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(example):
        if line.endswith("="):
            assert example[number - 1].startswith("#"), f"{line} is not explained"


def test_koubo_takes_the_settings_of_the_compose_file(monkeypatch: pytest.MonkeyPatch) -> None:
    given = substituted(compose()["services"]["koubo"]["environment"])
    for name, value in given.items():
        assert name.removeprefix("KOUBO_").lower() in Settings.model_fields, name
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.host == "127.0.0.1"
    assert [token.get_secret_value() for token in settings.operate_tokens] == ["value-of-OPERATE_TOKEN"]
    assert settings.turn_urls[0] == "turn:value-of-DOMAIN:3478"
    stopping = compose()["services"]["koubo"]["stop_grace_period"]
    assert seconds(stopping) > settings.drain_s + CLOSE_S


def test_services_share_the_machine_s_network_and_little_else() -> None:
    for name, service in compose()["services"].items():
        assert service["network_mode"] == "host", name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["restart"] == "unless-stopped", name
        assert not service.get("privileged"), name
        assert service["logging"]["options"]["max-size"], name


def test_what_is_mounted_is_there() -> None:
    parsed = compose()
    for service in parsed["services"].values():
        for mount in service.get("volumes", []):
            source, target, *mode = mount.split(":")
            assert target.startswith("/")
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), source
                assert mode == ["ro"], mount
            else:
                assert source in parsed["volumes"]


def test_no_secret_is_written_down() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?i)(secret|password|token)\s*[=:]\s*[\"']?[A-Za-z0-9]{12,}", text), path


def test_the_compose_tool_reads_it(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    env = tmp_path / "env"
    env.write_text("".join(f"{name}={value}\n" for name, value in variables().items()))
    done = subprocess.run(
        [docker, "compose", "--env-file", str(env), "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
