"""How clips follow each other, judged."""

import numpy as np
import pytest

from engine.anchor import director
from engine.anchor.package import Avatar
from engine.evaluate.switches import judge_switches
from engine.mouth.openvino_runtime import OpenVinoMouth
from tests.engine.clips import make_clips_avatar
from tests.fakes import FakeMouth, speech_like


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return Avatar.load(make_clips_avatar(tmp_path_factory.mktemp("avatars")))


def test_fades_are_told_from_cuts(clips: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    faded = judge_switches(clips, FakeMouth(), speech_like(3.0))
    monkeypatch.setattr(director, "share_left", lambda done, ticks: 1e-9)
    cut = judge_switches(clips, FakeMouth(), speech_like(3.0))
    # Into the talking clip, out of it into three others and back, and to idle.
    assert faded.switches == cut.switches >= 5
    assert faded.step < 0.8 * cut.step
    assert 0.5 < faded.sharpness <= 1.1


def test_the_time_of_two_mouths_is_told_apart(clips: Avatar) -> None:
    mouth = OpenVinoMouth(clips.mouth, threads=1)
    verdict = judge_switches(clips, mouth, speech_like(3.0))
    assert verdict.ms_fade > verdict.ms_speaking > 0


def test_one_clip_has_no_switches(avatar: Avatar) -> None:
    with pytest.raises(ValueError, match="one clip"):
        judge_switches(avatar, FakeMouth(), np.zeros(16000, np.float32))
