"""Signed MP4s, checked by the library's own reader against a chain made here."""

import json
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from engine.errors import KouboError, MissingToolError
from engine.picture.video import KEEP_METADATA
from streaming import credentials
from streaming.credentials import Mp4Signer, mp4_signer
from streaming.labels import aigc_metadata
from streaming.settings import Settings
from tests.papers import KEYS, Papers, issue, pem, verdict, write_papers

pytest.importorskip("c2pa", reason="c2pa-python is not installed")

ALGORITHMS = {"P-256": "Es256", "P-384": "Es384", "P-521": "Es512", "Ed25519": "Ed25519", "RSA": "Ps256"}


Issue = Callable[..., Papers]


@pytest.fixture
def papers(tmp_path: Path) -> Issue:
    """Writes a chain and its key: papers(kind of key, days of validity...)."""

    def make(kind: str = "P-256", **changes: Any) -> Papers:
        return write_papers(tmp_path / "papers", kind, **changes)

    return make


@pytest.fixture(params=["faststart", "frag_keyframe+empty_moov+default_base_moof"])
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two seconds of film, as `koubo render` writes it and as a recording is written."""
    path = tmp_path / "film.mp4"
    flags = {"movflags": f"{request.param}+{KEEP_METADATA}"}
    with av.open(str(path), "w", options=flags) as container:
        container.metadata.update(aigc_metadata(Settings(), "5f0c"))
        stream = container.add_stream("libx264", rate=25, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((72, 64), 4 * number, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def film(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.to_ndarray().mean()) for frame in container.decode(video=0)]


def test_a_signed_video_is_trusted_and_says_what_it_is(papers: Issue, video: Path) -> None:
    before, chain = film(video), papers()
    Mp4Signer(chain.certificate, chain.key).sign(video)
    state, manifest, faults = verdict(video, chain.root)
    assert (state, faults) == ("Trusted", [])
    actions = next(part for part in manifest["assertions"] if part["label"].startswith("c2pa.actions"))
    (created,) = actions["data"]["actions"]
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert created["softwareAgent"]["name"] == "Koubo"
    assert manifest["title"] == "film.mp4"
    assert manifest["claim_generator_info"][0]["name"] == "Koubo"
    assert manifest["signature_info"]["common_name"] == "Signer"
    assert film(video) == before
    with av.open(str(video)) as container:
        assert json.loads(container.metadata["AIGC"])["ProduceID"] == "5f0c"
    assert sorted(path.name for path in video.parent.iterdir()) == ["film.mp4", "papers"]


def test_a_stranger_trusts_it_only_as_far_as_its_root(papers: Issue, video: Path) -> None:
    chain = papers()
    Mp4Signer(chain.certificate, chain.key).sign(video)
    other = papers().root
    state, _, faults = verdict(video, other)
    assert state == "Valid"
    assert faults == ["signingCredential.untrusted"]


def test_a_changed_picture_is_found(papers: Issue, video: Path) -> None:
    chain = papers()
    Mp4Signer(chain.certificate, chain.key).sign(video)
    content = bytearray(video.read_bytes())
    content[content.index(b"mdat") + 40] ^= 1
    video.write_bytes(content)
    state, _, faults = verdict(video, chain.root)
    assert state == "Invalid"
    assert "assertion.bmffHash.mismatch" in faults


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("video", ["faststart"], indirect=True)
def test_every_key_that_c2pa_knows_signs(papers: Issue, video: Path, kind: str) -> None:
    chain = papers(kind)
    Mp4Signer(chain.certificate, chain.key).sign(video)
    state, manifest, _ = verdict(video, chain.root)
    assert state == "Trusted"
    assert manifest["signature_info"]["alg"] == ALGORITHMS[kind]


@pytest.mark.parametrize("video", ["faststart"], indirect=True)
def test_a_key_in_the_older_form_signs_as_well(papers: Issue, video: Path) -> None:
    chain, key = papers(), KEYS["P-256"]()
    root_key = KEYS["P-256"]()
    leaf = issue("Signer", key, "Root", root_key, root=False)
    chain.certificate.write_bytes(leaf.public_bytes(Encoding.PEM))
    chain.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    Mp4Signer(chain.certificate, chain.key).sign(video)
    assert verdict(video)[0] == "Valid"


@pytest.mark.parametrize("video", ["faststart"], indirect=True)
def test_one_signer_signs_many(papers: Issue, video: Path) -> None:
    chain = papers()
    signer = Mp4Signer(chain.certificate, chain.key)
    second = video.with_name("second.mp4")
    shutil.copy(video, second)
    for path in (video, second):
        signer.sign(path)
        state, manifest, _ = verdict(path, chain.root)
        assert (state, manifest["title"]) == ("Trusted", path.name)


def test_nothing_is_signed_without_settings() -> None:
    assert mp4_signer(Settings()) is None


def test_settings_name_the_signer(papers: Issue) -> None:
    chain = papers()
    assert mp4_signer(Settings(c2pa_certificate=chain.certificate, c2pa_key=chain.key)) is not None


@pytest.mark.parametrize("half", ["c2pa_certificate", "c2pa_key"])
def test_certificate_and_key_belong_together(half: str) -> None:
    with pytest.raises(KouboError, match="a certificate and its key"):
        mp4_signer(Settings.model_validate({half: Path("chain.pem")}))


def test_the_key_of_another_certificate_is_refused(papers: Issue) -> None:
    chain = papers()
    chain.key.write_bytes(pem(KEYS["P-256"]()))
    with pytest.raises(KouboError, match="does not belong"):
        Mp4Signer(chain.certificate, chain.key)


def test_a_certificate_out_of_date_is_refused(papers: Issue) -> None:
    chain = papers(days=-1)
    with pytest.raises(KouboError, match=r"valid from \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d; give one"):
        Mp4Signer(chain.certificate, chain.key)


def test_an_encrypted_key_is_refused(papers: Issue) -> None:
    chain, key = papers(), KEYS["P-256"]()
    chain.key.write_bytes(pem(key, b"secret"))
    with pytest.raises(KouboError, match="is encrypted"):
        Mp4Signer(chain.certificate, chain.key)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP256K1()),
        lambda: dsa.generate_private_key(2048),
        lambda: rsa.generate_private_key(65537, 1024),
    ],
)
def test_a_key_that_c2pa_does_not_know_is_refused(papers: Issue, make: Callable[[], Any]) -> None:
    chain = papers()
    chain.key.write_bytes(pem(make()))
    with pytest.raises(KouboError, match="C2PA does not sign"):
        Mp4Signer(chain.certificate, chain.key)


def test_files_that_are_something_else_are_named(papers: Issue, tmp_path: Path) -> None:
    chain = papers()
    words = tmp_path / "words.pem"
    words.write_text("no certificate")
    with pytest.raises(KouboError, match=r"words\.pem holds no certificate"):
        Mp4Signer(words, chain.key)
    with pytest.raises(KouboError, match=r"words\.pem holds no private key"):
        Mp4Signer(chain.certificate, words)
    with pytest.raises(KouboError, match=r"gone\.pem cannot be read"):
        Mp4Signer(chain.certificate, tmp_path / "gone.pem")


def test_a_certificate_for_other_uses_is_told_before_anything_is_made(papers: Issue) -> None:
    chain = papers(email=False)
    with pytest.raises(KouboError, match=r"could not be signed with .*chain\.pem .* docs/labels\.md"):
        Mp4Signer(chain.certificate, chain.key)


def test_what_is_no_mp4_stays_as_it_is(papers: Issue, tmp_path: Path) -> None:
    chain, words = papers(), tmp_path / "words.mp4"
    words.write_text("no film")
    with pytest.raises(KouboError, match=r"words\.mp4 could not be signed"):
        Mp4Signer(chain.certificate, chain.key).sign(words)
    assert words.read_text() == "no film"
    with pytest.raises(KouboError, match=r"gone\.mp4 could not be signed \(No such file"):
        Mp4Signer(chain.certificate, chain.key).sign(tmp_path / "gone.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["papers", "words.mp4"]


@pytest.mark.parametrize("video", ["faststart"], indirect=True)
def test_a_time_stamp_that_cannot_be_had_is_told(papers: Issue, video: Path) -> None:
    """A timestamping authority was asked for, so a file without its stamp is not passed off as signed."""
    chain, before = papers(), video.read_bytes()
    with pytest.raises(KouboError, match="could not be signed"):
        Mp4Signer(chain.certificate, chain.key, "http://127.0.0.1:9/").sign(video)
    assert video.read_bytes() == before


def test_without_the_package_one_sentence_says_how_to_get_it(
    papers: Issue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    chain = papers()
    with pytest.raises(MissingToolError, match="c2pa-python"):
        credentials.Mp4Signer(chain.certificate, chain.key)
