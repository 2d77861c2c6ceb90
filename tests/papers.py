"""A certificate chain made on the spot, as the C2PA specification wants it, and what its reader says."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC)
KEYS: dict[str, Callable[[], Any]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


def issue(
    subject: str, key: Any, issuer: str, signer: Any, *, root: bool, days: int = 30, email: bool = True
) -> x509.Certificate:
    """A certificate as the C2PA specification wants it, valid from yesterday for `days`."""

    def named(name: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, name),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"),
            ]
        )

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=100))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(not root, False, False, False, False, root, root, False, False), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if email and not root:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(signer, hashes.SHA256())


def pem(key: Any, password: bytes | None = None) -> bytes:
    lock = BestAvailableEncryption(password) if password else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))


@dataclass(frozen=True)
class Papers:
    certificate: Path
    key: Path
    root: str


def write_papers(folder: Path, kind: str = "P-256", **changes: Any) -> Papers:
    """A chain and its key in `folder`; `changes` as `issue` takes them."""
    folder.mkdir(exist_ok=True)
    root_key, key = KEYS["P-256"](), KEYS[kind]()
    root = issue("Root", root_key, "Root", root_key, root=True, days=90)
    leaf = issue("Signer", key, "Root", root_key, root=False, **changes)
    (folder / "chain.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(pem(key))
    return Papers(folder / "chain.pem", folder / "key.pem", root.public_bytes(Encoding.PEM).decode())


def verdict(path: Path, root: str | None = None) -> tuple[str, dict[str, Any], list[str]]:
    """(state, active manifest, codes of what is wrong); `root`: PEM that is trusted."""
    c2pa = pytest.importorskip("c2pa", reason="c2pa-python is not installed")
    trust = {"trust": {"trust_anchors": root}} if root else {}
    settings = c2pa.Settings.from_dict({"verify": {"verify_trust": bool(root)}, **trust})
    with c2pa.Context(settings) as context, c2pa.Reader(str(path), context=context) as reader:
        told = json.loads(reader.json())
        faults = [fault["code"] for fault in told.get("validation_status", [])]
        return reader.get_validation_state(), reader.get_active_manifest(), faults
