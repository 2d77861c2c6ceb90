"""Prometheus, Grafana, coturn, the SFU, reverse proxies and systemd: each file against what it is about."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from koubo import app
from streaming.drain import CLOSE_S
from streaming.outlets.supervisor import State
from streaming.settings import Settings
from tests.deploy.test_images import DEPLOY, compose, load_yaml, seconds
from tests.streaming.figures import busy_metrics

ROOT = DEPLOY.parent
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "koubo.json"


@pytest.fixture(scope="module")
def series() -> dict[str, set[str]]:
    """Every series that the server tells, and its labels."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(busy_metrics().text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def check_query(query: str, legend: str, series: dict[str, set[str]]) -> None:
    """Every series of a query exists, and so does every label that it or its legend speaks of."""
    names = re.findall(r"\b(koubo_\w+)", query)
    assert names, query
    labels = {"job"}
    for name in names:
        assert name in series, f"{name} does not exist: {query}"
        labels |= series[name]
    grouped = re.findall(r"\bby \(([^)]*)\)", query)
    selected = re.findall(r"\{([^}]*)\}", query)
    spoken = {label.strip() for group in grouped for label in group.split(",")}
    spoken |= {part.split("=")[0].strip("!~ ") for group in selected for part in group.split(",")}
    spoken |= set(re.findall(r"\{\{\s*\$?(?:labels\.)?(\w+)\s*\}\}", legend))
    assert spoken <= labels, f"{spoken - labels} is no label of {names}"
    for name in names:
        if name.endswith("_total"):
            assert re.search(rf"(rate|increase)\({name}", query), f"a counter is shown as it is: {query}"
        if name.endswith("_bucket"):
            assert "histogram_quantile" in query
            assert any("le" in group for group in grouped)


def panels() -> list[dict[str, Any]]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = dashboard["panels"]
    return found


QUERIES = [
    pytest.param(target["expr"], target["legendFormat"], id=f"{panel['title']} {target['refId']}")
    for panel in panels()
    for target in panel.get("targets", [])
]


@pytest.mark.parametrize(("query", "legend"), QUERIES)
def test_every_query_of_the_dashboard_finds_something(
    query: str, legend: str, series: dict[str, set[str]]
) -> None:
    check_query(query, legend, series)


def test_the_dashboard_shows_every_figure(series: dict[str, set[str]]) -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel.get("targets", []))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series}
    assert {name for name in families if name not in shown} <= {"koubo_process_virtual_memory_bytes"}


def test_panels_do_not_overlap_and_have_units() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["datasource"]["uid"] == "prometheus"
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))


def test_the_dashboard_is_found_by_grafana() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = load_yaml(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    assert source["uid"] == "prometheus"
    (provider,) = load_yaml(provisioning / "dashboards" / "koubo.yaml")["providers"]
    mounts = dict(mount.split(":")[:2] for mount in compose()["services"]["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    listens = [word for word in compose()["services"]["prometheus"]["command"] if "listen-address" in word]
    assert source["url"].removeprefix("http://") in listens[0]


def test_every_alert_finds_something(series: dict[str, set[str]]) -> None:
    (group,) = load_yaml(DEPLOY / "alerts.yml")["groups"]
    for rule in group["rules"]:
        summary = rule["annotations"]["summary"]
        assert summary.endswith("."), rule["alert"]
        if rule["alert"] != "KouboDown":
            check_query(rule["expr"], summary, series)
        for state in re.findall(r'state="(\w+)"', rule["expr"]):
            assert state in set(State), f"outlets have no state {state}"


def test_the_scraper_asks_where_the_servers_are() -> None:
    jobs = {job["job_name"]: job for job in load_yaml(DEPLOY / "prometheus.yml")["scrape_configs"]}
    assert jobs["koubo"]["static_configs"][0]["targets"] == [
        f"127.0.0.1:{Settings.model_fields['port'].default}"
    ]
    sfu = load_yaml(DEPLOY / "mediamtx.yml")
    assert jobs["sfu"]["static_configs"][0]["targets"] == [sfu["metricsAddress"]]
    secrets = compose()["services"]["prometheus"]["secrets"]
    assert jobs["koubo"]["authorization"]["credentials_file"] == f"/run/secrets/{secrets[0]}"


def test_the_page_on_deployment_speaks_of_what_there_is(series: dict[str, set[str]]) -> None:
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    told = re.findall(r"`(koubo_\w+)(?:\{([\w,]+)\})?`", page)
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series}
    for name, labels in told:
        assert name in families, name
        found = set().union(*(series[each] for each in series if each.startswith(name)))
        assert set(filter(None, labels.split(","))) <= found, name
    assert {name for name in families if "process" not in name} <= {name for name, _ in told}
    for link in re.findall(r"\]\(([^)#]+)\)", page):
        assert (ROOT / "docs" / link).exists(), link
    ports = dict(coturn_options())
    assert f"{ports['min-port']}–{ports['max-port']}/udp" in page
    sfu = load_yaml(DEPLOY / "mediamtx.yml")
    for address in ("webrtcAddress", "metricsAddress", "webrtcLocalUDPAddress"):
        assert sfu[address].rpartition(":")[2] in page


@pytest.mark.parametrize("what", [["rules", "alerts.yml"], ["config", "--syntax-only", "prometheus.yml"]])
def test_promtool_reads_it(what: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (it comes with Prometheus)")
    done = subprocess.run(
        [promtool, "check", *what], cwd=DEPLOY, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def coturn_options() -> list[tuple[str, str]]:
    lines = (DEPLOY / "turnserver.conf").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return [(name, value) for name, _, value in pairs]


def test_the_relay_is_no_way_into_inner_networks() -> None:
    denied = {value for name, value in coturn_options() if name == "denied-peer-ip"}
    for beginning in ("10.", "127.", "169.254.", "172.16.", "192.168.", "100.64.", "::1", "fc00::", "fe80::"):
        assert any(value.startswith(beginning) for value in denied), beginning
    options = dict(coturn_options())
    assert "use-auth-secret" in options
    assert "no-multicast-peers" in options
    assert int(options["max-port"]) - int(options["min-port"]) >= 200
    assert options["listening-port"] == "3478"


def test_coturn_reads_it(tmp_path: Path, unused_tcp_port: int) -> None:
    turnserver = shutil.which("turnserver")
    if turnserver is None:
        pytest.skip("coturn is not installed")
    given = [word for word in compose()["services"]["coturn"]["command"] if word.startswith("--")]
    names = {word.partition("=")[0] for word in given}
    assert names == {"--realm", "--static-auth-secret", "--external-ip", "--allowed-peer-ip"}
    command = [
        *(turnserver, "-c", str(DEPLOY / "turnserver.conf"), "--pidfile", str(tmp_path / "pid")),
        *("--realm=example.org", "--static-auth-secret=s", "--external-ip=192.0.2.1/127.0.0.1"),
        *("--allowed-peer-ip=127.0.0.1", f"--listening-port={unused_tcp_port}", "-L", "127.0.0.1"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(1.5)
    assert process.poll() is None, "it did not stay up"
    process.terminate()
    output, _ = process.communicate(timeout=10)
    assert "Relay ports initialization done" in output
    assert not re.search(r"(?i)bad configuration|unknown|error", output), output


def test_the_sfu_takes_what_koubo_publishes_and_nothing_else() -> None:
    config = load_yaml(DEPLOY / "mediamtx.yml")
    for protocol in ("rtsp", "rtmp", "hls", "srt", "api"):
        assert config[protocol] is False
    assert config["webrtc"] is True
    assert config["webrtcAddress"].startswith("127.0.0.1:")
    # The environment of the compose file sets the password of the first user: it must be the publisher.
    publisher, *others = config["authInternalUsers"]
    assert [entry["action"] for entry in publisher["permissions"]] == ["publish"]
    assert "MTX_AUTHINTERNALUSERS_0_PASS" in compose()["services"]["sfu"]["environment"]
    assert all(entry["action"] != "publish" for user in others for entry in user["permissions"])
    (path,) = config["paths"]
    assert re.fullmatch(path.removeprefix("~"), "live/ada")
    assert not re.fullmatch(path.removeprefix("~"), "live/../secret")
    for entry in (*publisher["permissions"], *others[0]["permissions"]):
        assert re.match(entry["path"].removeprefix("~"), "live/ada")


def test_the_proxies_send_to_the_servers_and_hide_the_figures() -> None:
    port = Settings.model_fields["port"].default
    caddy = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
    nginx = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert f"reverse_proxy 127.0.0.1:{port}" in caddy
    assert f"reverse_proxy {load_yaml(DEPLOY / 'mediamtx.yml')['webrtcAddress']}" in caddy
    assert f"proxy_pass http://127.0.0.1:{port};" in nginx
    assert re.search(r"@inner path /metrics\s+respond @inner 404", caddy)
    assert re.search(r"location = /metrics \{ return 404; \}", nginx)
    # WebSockets, and the client's own address for the limits.
    for needed in ("Upgrade $http_upgrade", "X-Forwarded-For", "proxy_http_version 1.1"):
        assert needed in nginx


def test_nginx_reads_it(tmp_path: Path, unused_tcp_port_factory: Any) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    openssl = shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx or openssl is not installed")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    making = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(
        [
            *making,
            "-keyout",
            str(key),
            "-out",
            str(certificate),
            "-days",
            "2",
            "-subj",
            "/CN=avatar.example.org",
        ],
        check=True,
        capture_output=True,
    )
    site = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    folder = "/etc/letsencrypt/live/avatar.example.org"
    site = site.replace(f"{folder}/fullchain.pem", str(certificate)).replace(
        f"{folder}/privkey.pem", str(key)
    )
    for port in ("443", "80"):
        site = site.replace(f"listen {port}", f"listen 127.0.0.1:{unused_tcp_port_factory()}")
        site = re.sub(rf"listen \[::\]:{port}.*;", "", site)
    (tmp_path / "site.conf").write_text(site)
    places = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = tmp_path / "nginx.conf"
    main.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}"
        f"http {{ access_log off; {places} include {tmp_path}/site.conf; }}"
    )
    done = subprocess.run([nginx, "-t", "-c", str(main)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def unit() -> dict[str, str]:
    """The settings of the systemd unit; of repeated ones the last."""
    lines = (DEPLOY / "koubo.service").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_systemd_unit_starts_and_stops_as_the_server_wants() -> None:
    service = unit()
    _, _, command = service["ExecStart"].partition("koubo ")
    flags = [word for word in command.split() if word.startswith("--")]
    help_text = CliRunner().invoke(app, [command.split()[0], "--help"], env={"COLUMNS": "200"}).output
    for flag in flags:
        assert flag in help_text
    assert service["KillSignal"] == "SIGTERM"
    drain = Settings.model_fields["drain_s"].default
    assert seconds(f"{service['TimeoutStopSec']}s") > drain + CLOSE_S
    assert service["User"] not in ("root", "")
    assert service["NoNewPrivileges"] == "true"


def test_systemd_reads_it(tmp_path: Path) -> None:
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        pytest.skip("systemd is not installed")
    text = (DEPLOY / "koubo.service").read_text(encoding="utf-8")
    path = tmp_path / "koubo.service"
    path.write_text(text.replace("/opt/koubo/.venv/bin/koubo", "/bin/true"))
    done = subprocess.run(
        [analyse, "verify", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "koubo.service" in line]
    assert not ours, ours
