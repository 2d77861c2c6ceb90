"""`koubo render` as an operator uses it: the label, the metadata, the signature, and what it refuses."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from engine.errors import KouboError
from engine.picture.label import LabelStyle, label_for
from engine.picture.video import read_i420
from engine.picture.yuv import Frame, planes
from koubo import app
from tests.fakes import FRAME_SIZE, speech_like, write_sound
from tests.papers import verdict, write_papers


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_sound(tmp_path / "speech.wav", speech_like(0.4), 16_000)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "film.mp4"


def render(avatar: Path, speech: Path, output: Path, *words: str | Path) -> Result:
    given = ["render", "--avatar", avatar, "--audio", speech, "--output", output, "--runtime", "openvino"]
    return CliRunner().invoke(app, [str(word) for word in (*given, *words)], catch_exceptions=False)


def white(picture: Frame, style: LabelStyle) -> float:
    """Share of the label's box that is as bright as its words; the fake presenter's corners are dark."""
    left, top, right, bottom = label_for(style, FRAME_SIZE).box
    return float(np.mean(planes(picture)[0][top:bottom, left:right] > 160))


def seen(output: Path, style: LabelStyle) -> list[float]:
    return [white(picture, style) for picture in read_i420(output)]


def metadata(output: Path) -> dict[str, str]:
    with av.open(str(output)) as container:
        found: dict[str, str] = json.loads(container.metadata["AIGC"])
    return found


def test_every_picture_is_labelled_and_the_file_says_so(
    avatar_folder: Path, speech: Path, output: Path
) -> None:
    done = render(avatar_folder, speech, output)
    assert done.exit_code == 0
    assert done.stdout.strip() == str(output)
    shares = seen(output, LabelStyle())
    assert len(shares) == 10
    assert min(shares) > 0.1
    assert metadata(output)["Label"] == "1"


def test_the_label_is_where_it_was_asked_for(avatar_folder: Path, speech: Path, output: Path) -> None:
    words = ("--label", "en", "--label-corner", "bottom-right", "--label-size", "0.08")
    assert render(avatar_folder, speech, output, *words, "--label-opacity", "1").exit_code == 0
    assert min(seen(output, LabelStyle("en", "bottom-right", 0.08, 1.0))) > 0.1
    assert max(seen(output, LabelStyle())) == 0


def test_the_environment_is_asked_and_the_command_line_wins(
    avatar_folder: Path, speech: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOUBO_LABEL_CORNER", "top-right")
    monkeypatch.setenv("KOUBO_CONTENT_PRODUCER", "口播 Studio")
    assert render(avatar_folder, speech, output).exit_code == 0
    assert min(seen(output, LabelStyle(corner="top-right"))) > 0.1
    assert metadata(output)["ContentProducer"] == "口播 Studio"
    assert render(avatar_folder, speech, output, "--label-corner", "bottom-left").exit_code == 0
    assert min(seen(output, LabelStyle(corner="bottom-left"))) > 0.1
    assert max(seen(output, LabelStyle(corner="top-right"))) == 0


def test_two_films_have_two_names(avatar_folder: Path, speech: Path, output: Path) -> None:
    names = set()
    for _ in range(2):
        assert render(avatar_folder, speech, output).exit_code == 0
        names.add(metadata(output)["ProduceID"])
    assert len(names) == 2


def test_off_needs_a_reason_and_is_told(
    avatar_folder: Path, speech: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KouboError, match="--label-off-reason"):
        render(avatar_folder, speech, output, "--label", "off")
    assert not output.exists()
    words = ("--label", "off", "--label-off-reason", "for a test")
    assert render(avatar_folder, speech, output, *words).exit_code == 0
    assert max(seen(output, LabelStyle())) == 0
    assert "for a test" in caplog.text
    assert metadata(output)["Label"] == "1"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--label", "de"), "label, in the flags, cannot be 'de': .*'zh', 'en', 'both' or 'off'"),
        (("--label-size", "0.04"), r"label_size, in the flags, cannot be 0\.04: .*0\.05"),
        (("--label-opacity", "0.1"), r"label_opacity, in the flags, cannot be 0\.1: .*0\.5"),
        (("--label-corner", "middle"), "label_corner, in the flags, cannot be 'middle': .*'top-left'"),
    ],
)
def test_what_the_rules_do_not_allow_is_refused(
    avatar_folder: Path, speech: Path, output: Path, words: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(KouboError, match=sentence):
        render(avatar_folder, speech, output, *words)
    assert not output.exists()


def test_a_wrong_variable_is_named(
    avatar_folder: Path, speech: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOUBO_LABEL_SIZE", "0.3")
    with pytest.raises(KouboError, match="environment variable KOUBO_LABEL_SIZE"):
        render(avatar_folder, speech, output)


def test_a_file_of_settings_is_read(avatar_folder: Path, speech: Path, output: Path, tmp_path: Path) -> None:
    config = tmp_path / "koubo.toml"
    config.write_text('label = "en"\nlabel_corner = "bottom-left"\ncontent_producer = "Studio"\n')
    assert render(avatar_folder, speech, output, "--config", config).exit_code == 0
    assert min(seen(output, LabelStyle("en", "bottom-left"))) > 0.1
    assert metadata(output)["ContentProducer"] == "Studio"


def test_a_film_is_signed_where_a_certificate_is_set(
    avatar_folder: Path, speech: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("c2pa", reason="c2pa-python is not installed")
    papers = write_papers(output.parent / "papers")
    monkeypatch.setenv("KOUBO_C2PA_CERTIFICATE", str(papers.certificate))
    monkeypatch.setenv("KOUBO_C2PA_KEY", str(papers.key))
    assert render(avatar_folder, speech, output).exit_code == 0
    state, manifest, _ = verdict(output, papers.root)
    assert (state, manifest["title"]) == ("Trusted", "film.mp4")
    assert metadata(output)["Label"] == "1"
    assert min(seen(output, LabelStyle())) > 0.1


def test_a_missing_key_is_told_before_anything_is_drawn(
    avatar_folder: Path, speech: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOUBO_C2PA_CERTIFICATE", "chain.pem")
    with pytest.raises(KouboError, match="KOUBO_C2PA_KEY"):
        render(avatar_folder, speech, output)
    assert not output.exists()


def sign(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["sign", *map(str, words)], catch_exceptions=False)


def test_finished_videos_are_signed(avatar_folder: Path, speech: Path, output: Path) -> None:
    pytest.importorskip("c2pa", reason="c2pa-python is not installed")
    papers = write_papers(output.parent / "papers")
    videos = [output, output.with_name("second.mp4")]
    for video in videos:
        assert render(avatar_folder, speech, video).exit_code == 0
    done = sign(*videos, "--certificate", papers.certificate, "--key", papers.key)
    assert done.exit_code == 0
    assert done.stdout.split() == [str(video) for video in videos]
    for video in videos:
        assert verdict(video, papers.root)[0] == "Trusted"
        assert len(seen(video, LabelStyle())) == 10


def test_nothing_is_signed_without_a_certificate(output: Path) -> None:
    with pytest.raises(KouboError, match="give --certificate and --key"):
        sign(output)
    with pytest.raises(KouboError, match="KOUBO_C2PA_KEY"):
        sign(output, "--certificate", "chain.pem")


def test_clips_are_asked_for_by_name_and_time(avatar_folder: Path, speech: Path, output: Path) -> None:
    done = render(avatar_folder, speech, output, "--clip", "idle@0.2", "--clip", "idle@0")
    assert done.exit_code == 0
    assert output.is_file()


@pytest.mark.parametrize("clip", ["idle", "idle@", "idle@soon", "@", ""])
def test_a_clip_without_a_time_is_refused(avatar_folder: Path, speech: Path, output: Path, clip: str) -> None:
    with pytest.raises(KouboError, match=r"wave@3\.5"):
        render(avatar_folder, speech, output, "--clip", clip)
    assert not output.exists()


def test_a_clip_that_is_not_there_is_refused(avatar_folder: Path, speech: Path, output: Path) -> None:
    with pytest.raises(KouboError, match="no clip 'wave'; known clips: idle"):
        render(avatar_folder, speech, output, "--clip", "wave@0.1")
    assert not output.exists()
