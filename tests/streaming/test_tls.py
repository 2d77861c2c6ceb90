"""TLS, and what a server tells a browser about itself, over real sockets."""

import contextlib
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from engine.errors import KouboError
from streaming.connections import Certificate, check_certificate
from tests.certificates import self_signed
from tests.streaming.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]

SERVER = """
import sys, os
from pathlib import Path
from streaming.cast import EngineCast
from streaming.connections import Certificate
from streaming.server import bind, create_app, run
from streaming.settings import Settings
from tests.fakes import FakeMouth, make_avatar
port, folder, *pem = sys.argv[1:]
make_avatar(Path(folder), "fake")
os.environ["KOUBO_AVATARS"] = folder
settings = Settings()
certificate = Certificate(Path(pem[0]), Path(pem[1])) if pem else None
app = create_app(settings, EngineCast(lambda _: FakeMouth(), "fake"))
run(bind("127.0.0.1", int(port)), app, settings, certificate)
"""


def make_certificate(folder: Path, name: str, password: bytes | None = None) -> Certificate:
    """A certificate for 127.0.0.1 that signs itself."""
    certificate, key = self_signed(x509.IPAddress(ip_address("127.0.0.1")))
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    made.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    )
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    return made


@contextlib.contextmanager
def serving(folder: Path, *pem: Path) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port), str(folder), *map(str, pem)], cwd=ROOT
    )
    try:
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http{'s' if pem else ''}://127.0.0.1:{port}/healthz", verify=False)
                break
            assert process.poll() is None
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def test_with_a_certificate_everything_is_encrypted_and_stays_so(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "good")
    check_certificate(certificate)
    context = ssl.create_default_context(cafile=certificate.chain)
    with serving(tmp_path, certificate.chain, certificate.key) as port, httpx.Client(verify=context) as http:
        response = http.get(f"https://127.0.0.1:{port}/healthz")
        assert response.status_code == 200
        assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert http.post(f"https://127.0.0.1:{port}/v1/sessions").status_code == 201
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/healthz")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://127.0.0.1:{port}/healthz")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://127.0.0.1:{port}/healthz", verify=old)


def test_without_one_a_server_promises_nothing_about_tls_and_serves_its_own_names(tmp_path: Path) -> None:
    with serving(tmp_path) as port:
        url = f"http://127.0.0.1:{port}/v1/sessions"
        response = httpx.post(url)
        assert response.status_code == 201
        assert "Strict-Transport-Security" not in response.headers
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            refused = httpx.post(url, headers=headers)
            assert refused.status_code == 403
            assert "KOUBO_OPERATE_TOKENS" in refused.json()["detail"]


def test_a_certificate_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    good, other = make_certificate(tmp_path, "good"), make_certificate(tmp_path, "other")
    locked = make_certificate(tmp_path, "locked", password=b"secret")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for chain, key in (
        (good.chain, other.key),
        (locked.chain, locked.key),
        (empty, good.key),
        (good.key, good.chain),
        (good.chain, empty),
    ):
        with pytest.raises(KouboError, match=r"cannot be used together; .*\.$"):
            check_certificate(Certificate(chain, key))
    for chain, key in (
        (tmp_path / "none.pem", good.key),
        (good.chain, tmp_path / "none.key"),
        (tmp_path, tmp_path),
    ):
        with pytest.raises(KouboError, match="There is no file"):
            check_certificate(Certificate(chain, key))
