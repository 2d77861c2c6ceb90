"""Content credentials (C2PA): a finished MP4 is signed, so that programs can tell where it comes from."""

from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from engine.errors import KouboError, MissingToolError
from streaming.settings import Settings

_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_LEAST_RSA_BITS = 2048
_MEMORY = {"core": {"backing_store_memory_threshold_in_mb": 16}}  # larger files are worked on in TMPDIR
_NOTHING = b'<svg xmlns="http://www.w3.org/2000/svg"></svg>'


class Mp4Signer:
    """Signs MP4s, also fragmented ones, as pictures made by a trained model into filmed or rendered ones.

    `sign` may be called from any thread. It reads and writes the whole file, so it needs twice its size on
    disk: beside it, and in the folder for temporary files.
    """

    def __init__(self, certificate: Path, key: Path, timestamp_url: str | None = None) -> None:
        """`certificate`: PEM chain, the signer's first, without its root; `key`: PEM, not encrypted.

        Raises MissingToolError without c2pa-python, and KouboError when certificate and key cannot be used.
        """
        self._c2pa = _c2pa()
        chain = _chain(certificate)
        private, algorithm = _private_key(key)
        if private.public_key() != chain[0].public_key():
            raise KouboError(f"The key {key} does not belong to the first certificate of {certificate}.")
        if not chain[0].not_valid_before_utc <= datetime.now(UTC) <= chain[0].not_valid_after_utc:
            raise KouboError(
                f"The certificate {certificate} is valid from {chain[0].not_valid_before_utc:%Y-%m-%d} to "
                f"{chain[0].not_valid_after_utc:%Y-%m-%d}; give one that is valid today."
            )
        self._certificate = certificate
        self._chain = b"".join(part.public_bytes(Encoding.PEM) for part in chain)
        self._key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._algorithm = getattr(self._c2pa.C2paSigningAlg, algorithm)
        self._timestamp_url = timestamp_url
        # What a certificate is good for shows only when it signs: better now than after an hour's recording.
        self._write("a test file", "image/svg+xml", BytesIO(_NOTHING), BytesIO(), None)

    def sign(self, path: Path) -> None:
        """Replace the MP4 at `path` by the same with credentials; what it shows stays as it is.

        Raises KouboError; the file then is as it was.
        """
        part = path.with_name(path.name + ".part")
        try:
            with path.open("rb") as source, part.open("w+b") as target:
                self._write(path.name, "video/mp4", source, target, self._timestamp_url)
            part.replace(path)
        except OSError as error:
            raise KouboError(f"{path.name} could not be signed ({error.strerror}).") from error
        finally:
            part.unlink(missing_ok=True)

    def _write(
        self, title: str, media_type: str, source: BinaryIO, target: BinaryIO, timestamp_url: str | None
    ) -> None:
        info = self._c2pa.C2paSignerInfo(self._algorithm, self._chain, self._key, timestamp_url)
        try:
            with (
                self._c2pa.Context(self._c2pa.Settings.from_dict(_MEMORY)) as context,
                self._c2pa.Signer.from_info(info) as signer,
                self._c2pa.Builder(_manifest(title), context=context) as builder,
            ):
                builder.sign(signer, media_type, source, target)
        except self._c2pa.C2paError as error:
            raise KouboError(
                f"{title} could not be signed with {self._certificate} ({error}); docs/labels.md tells what "
                "a certificate must allow."
            ) from error


def mp4_signer(settings: Settings) -> Mp4Signer | None:
    """The signer that the settings name, None when they name none. Raises as `Mp4Signer` does."""
    if settings.c2pa_certificate is None and settings.c2pa_key is None:
        return None
    if settings.c2pa_certificate is None or settings.c2pa_key is None:
        raise KouboError(
            "Signing needs a certificate and its key; set KOUBO_C2PA_CERTIFICATE and KOUBO_C2PA_KEY."
        )
    return Mp4Signer(settings.c2pa_certificate, settings.c2pa_key, settings.c2pa_timestamp_url)


def _c2pa() -> Any:
    try:
        import c2pa
    except ModuleNotFoundError as error:
        raise MissingToolError(
            "Signing files needs the package c2pa-python; `pip install 'koubo[c2pa]'`."
        ) from error
    return c2pa


def _manifest(title: str) -> dict[str, Any]:
    """What is claimed: this file was made by Koubo, with a trained model, out of other pictures."""
    agent = {"name": "Koubo", "version": version("koubo")}
    created = {"action": "c2pa.created", "digitalSourceType": _SOURCE, "softwareAgent": agent}
    return {
        "claim_generator_info": [agent],
        "title": title,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KouboError(f"{path} cannot be read ({error.strerror}); signing needs it.") from error


def _chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise KouboError(f"{path} holds no certificate; give a PEM chain, the signer's first.") from error


def _private_key(
    path: Path,
) -> tuple[ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, str]:
    """The key and the name of its algorithm in C2PA."""
    try:
        key = load_pem_private_key(_read(path), None)
    except TypeError as error:
        raise KouboError(f"The key {path} is encrypted; give it in PEM without a password.") from error
    except ValueError as error:
        raise KouboError(f"{path} holds no private key; give one in PEM.") from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key, _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key, "ED25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        return key, "PS256"
    raise KouboError(
        f"C2PA does not sign with a key such as {path}; give one of P-256, P-384, P-521, Ed25519 or RSA from "
        f"{_LEAST_RSA_BITS} bits."
    )
