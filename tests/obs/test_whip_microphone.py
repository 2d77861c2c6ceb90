"""FFmpeg's own WHIP muxer as the microphone: neither a browser nor aiortc, just as OBS 30 is neither."""

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from engine.speech.audio import SAMPLE_RATE, Samples, to_pcm16
from streaming.bench_server import running_server
from streaming.webrtc.client import Watcher
from tests.fakes import speech_like
from tests.obs.asking import ask
from tests.streaming.listening import Recorder, lag

PIECE = SAMPLE_RATE // 50
"""Samples of 20 ms."""


def write_certificate(folder: Path) -> dict[str, str]:
    """A P-256 certificate for DTLS; gives the muxer's options.

    RFC 8827 wants that curve. FFmpeg 8.1 with GnuTLS makes its own certificate with secp224r1, which OpenSSL
    refuses.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "whip")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return {"cert_file": str(certificate), "key_file": str(secret)}


def publish(url: str, speech: Samples, options: dict[str, str], *, picture: bool) -> None:
    """Send `speech` as Opus in real time, as a program with a picture would beside a small one."""
    with av.open(url, "w", format="whip", options=options) as container:
        sound = container.add_stream("libopus", rate=48_000, layout="stereo")
        video = None
        if picture:
            video = container.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
            video.width, video.height, video.pix_fmt, video.profile = 64, 64, "yuv420p", "Baseline"
        resampler = av.AudioResampler(format="s16", layout="stereo", rate=48_000)
        began = time.monotonic()
        for number in range(speech.size // PIECE):
            part = to_pcm16(speech[number * PIECE : (number + 1) * PIECE])[None]
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = (
                SAMPLE_RATE,
                number * PIECE,
                Fraction(1, SAMPLE_RATE),
            )
            for ready in resampler.resample(frame):
                container.mux(sound.encode(ready))
            if video is not None and number % 2 == 0:
                blank = av.VideoFrame(64, 64, "yuv420p")
                blank.pts, blank.time_base = number // 2, Fraction(1, 25)
                container.mux(video.encode(blank))
            time.sleep(max(0.0, began + (number + 1) * 0.02 - time.monotonic()))


@pytest.mark.slow
@pytest.mark.parametrize("picture", [False, True], ids=["sound alone", "with a picture"])
async def test_ffmpeg_speaks_through_the_presenter(tmp_path: Path, picture: bool) -> None:
    if "whip" not in av.formats_available:
        pytest.skip("this PyAV has no WHIP muxer; it came with FFmpeg 8")
    words = np.concatenate([speech_like(0.7), np.zeros(SAMPLE_RATE // 2, np.float32)])
    command = [sys.executable, "-m", "tests.streaming.fake_server"]
    async with running_server(1, lambda port: [*command, str(port), str(tmp_path / "avatars")]) as server:
        opened = await ask(server, "POST", "/v1/sessions")
        watcher = Watcher()
        await watcher.connect(server.exchange(str(opened["whep"])))
        recorder = Recorder(watcher)
        url = f"http://127.0.0.1:{server.port}{opened['whip']}"
        options = write_certificate(tmp_path)
        await asyncio.to_thread(publish, url, np.tile(words, 4), options, picture=picture)
        state = await ask(server, "GET", f"/v1/sessions/{opened['id']}")
        await watcher.close()
        await recorder.stop()
    assert state["mic"] is False, "the muxer said goodbye with a DELETE"
    loud, open_ = recorder.loudness(), recorder.gape()
    assert max(loud.values()) > 0.05
    shift, r = lag(loud, open_)
    assert abs(shift) <= 1
    assert r > 0.6
