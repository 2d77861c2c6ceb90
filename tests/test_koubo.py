"""The command line as a user meets it: real processes, exit codes, one sentence for each mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def koubo(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "koubo", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


def complaint(*words: str | Path) -> str:
    done = koubo(*words)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("koubo:")]
    assert len(lines) == 1
    return lines[0]


def test_the_shipped_presenters_are_listed() -> None:
    done = koubo("avatar", "list", "--json")
    assert done.returncode == 0
    assert {"ada", "kai"} <= {presenter["name"] for presenter in json.loads(done.stdout)}


def test_an_unknown_avatar_is_named(tmp_path: Path) -> None:
    assert "nobody" in complaint(
        "render", "--avatar", "nobody", "--audio", "x.wav", "--output", tmp_path / "o.mp4"
    )


def test_speech_that_is_none_leaves_nothing_behind(tmp_path: Path) -> None:
    text = tmp_path / "speech.wav"
    text.write_text("this is no sound")
    output = tmp_path / "out.mp4"
    assert "speech.wav" in complaint("render", "--avatar", "ada", "--audio", text, "--output", output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speech.wav"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("bench", "mouth", "--model", "giant"), "lite192"),
        (("studio", "anchor", "--character", "none.glb", "--output", "o.mp4"), "none.glb"),
        (("studio", "say", "--character", "none.glb", "--text", " ", "--output", "o"), "nothing to say"),
        (("train", "generator", "--data", "none", "--speech", "none", "--output", "o"), "no folder"),
        (("train", "sync", "--data", "none", "--output", "o"), "no clips below none"),
        (("export", "--checkpoint", "none.safetensors", "--output", "o"), "no checkpoint"),
        (("avatar", "create", "none.mp4", "--name", "n", "--rendered", "me"), "none.mp4"),
    ],
)
def test_mistakes_are_told_in_one_sentence(words: tuple[str, ...], hint: str) -> None:
    assert hint in complaint(*words)


def test_bench_mouth_prints_its_figures() -> None:
    done = koubo("bench", "mouth", "--model", "lite192", "--frames", "10", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert {"model", "runtime", "precision", "ms_per_frame"} <= set(figures)
    assert 0 < figures["ms_per_frame"]["p50"] <= figures["ms_per_frame"]["p99"]


def test_render_writes_a_talking_presenter(tmp_path: Path) -> None:
    import numpy as np

    from engine.picture.video import read_rgb
    from engine.speech import espeak
    from engine.speech.audio import load_speech
    from tests.fakes import write_sound

    speech = espeak.speak("Good evening.", "en-us").samples
    write_sound(tmp_path / "speech.wav", speech, 16_000)
    done = koubo(
        "render", "--avatar", "kai", "--audio", tmp_path / "speech.wav", "--output", tmp_path / "k.mp4"
    )
    assert done.returncode == 0, done.stderr
    pictures = list(read_rgb(tmp_path / "k.mp4"))
    assert len(pictures) == -(-speech.size // 640)
    assert np.corrcoef(load_speech(tmp_path / "k.mp4")[: speech.size], speech)[0, 1] > 0.9
