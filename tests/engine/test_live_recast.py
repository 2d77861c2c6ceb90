"""LiveAvatar: another presenter in the middle of everything."""

import itertools
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor.card import ANCHOR, read_card, write_card
from engine.anchor.package import Avatar
from engine.live import LiveAvatar, Tick
from engine.mouth.features import AnchorFeatures
from engine.picture.video import VideoWriter, read_rgb
from engine.picture.yuv import Frame, planes, to_i420
from engine.speech.audio import Samples, to_pcm16
from tests.engine.clips import NOD, OpenMouth, make_clips_avatar
from tests.fakes import FRAME_SIZE, FakeMouth, make_avatar, speech_like

FADE = 4
"""Ticks in which the former presenter's picture goes."""


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return Avatar.load(make_clips_avatar(tmp_path_factory.mktemp("avatars"), "ada"))


@pytest.fixture(scope="module")
def kai(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    """Darker than ada, of the same size."""
    return Avatar.load(repaint(make_avatar(tmp_path_factory.mktemp("avatars"), "kai"), FRAME_SIZE))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    """Of another size."""
    return Avatar.load(repaint(make_avatar(tmp_path_factory.mktemp("avatars"), "small"), (80, 96)))


def repaint(package: Path, size: tuple[int, int]) -> Path:
    card = read_card(package)
    pictures = [cv2.resize(picture, size) // 2 for picture in read_rgb(package / ANCHOR)]
    with VideoWriter(package / ANCHOR, size) as video:
        for picture in pictures:
            video.write(to_i420(np.asarray(picture, np.uint8)))
    scale = size[0] / card.size[0]
    crops = tuple(
        replace(crop, cx=crop.cx * scale, cy=crop.cy * scale, size=crop.size * scale) for crop in card.crops
    )
    write_card(package, replace(card, size=size, clips=(replace(card.clips[0], crops=crops),)))
    return package


@pytest.fixture
def mouth() -> FakeMouth:
    return FakeMouth()


@pytest.fixture
def live(ada: Avatar, mouth: FakeMouth) -> LiveAvatar:
    return LiveAvatar(ada, AnchorFeatures(ada, mouth), mouth)


def recast(live: LiveAvatar, avatar: Avatar, mouth: FakeMouth | None = None) -> None:
    drawn_by = mouth or FakeMouth()
    live.recast(avatar, AnchorFeatures(avatar, drawn_by), drawn_by)


def run(live: LiveAvatar, ticks: int) -> list[Tick]:
    return [live.tick() for _ in range(ticks)]


def apart(one: Frame, other: Frame) -> float:
    return float(np.abs(planes(one)[0].astype(int) - planes(other)[0]).mean())


def said(ticks: list[Tick]) -> Samples:
    return np.concatenate([tick.sound for tick in ticks])


def test_the_next_tick_is_another_presenter_who_says_the_sentence_to_its_end(
    live: LiveAvatar, kai: Avatar, mouth: FakeMouth
) -> None:
    speech = speech_like(3.0)
    live.push(speech)
    live.finish()
    before = run(live, 30)
    drawn, other = len(mouth.mels), FakeMouth()
    recast(live, kai, other)
    after = run(live, 60)
    assert {tick.avatar for tick in before} == {"ada"}
    assert {tick.avatar for tick in after} == {"kai"}
    np.testing.assert_array_equal(said([*before, *after])[: speech.size], to_pcm16(speech))
    assert [tick.index for tick in (*before, *after)] == list(range(90))
    assert after[0].position == before[-1].position + 640
    assert not any(tick.mouth_late for tick in after)
    assert len(mouth.mels) == drawn
    assert len(other.mels) >= 45


def test_the_new_mouth_is_open_at_once(live: LiveAvatar, ada: Avatar, kai: Avatar) -> None:
    """As far as the old one was: the sentence goes on."""
    live.push(speech_like(3.0))
    run(live, 20)
    recast(live, kai, OpenMouth())
    opened = [apart(tick.picture, kai.frame(tick.frame)) for tick in run(live, 12)]
    assert opened[FADE] == pytest.approx(opened[FADE + 2], rel=0.2)
    assert opened[FADE] > 0.2


def test_the_former_picture_fades_evenly(live: LiveAvatar, ada: Avatar, kai: Avatar) -> None:
    last = run(live, 7)[-1]
    recast(live, kai)
    ticks = run(live, 10)
    shares = [tick.before_share for tick in ticks]
    assert shares[FADE:] == [0.0] * 6
    assert all(0 < share < 1 for share in shares[:FADE])
    assert shares == sorted(shares, reverse=True)
    for tick in ticks[:FADE]:
        assert tick.before is not None
        np.testing.assert_array_equal(tick.before.picture, last.picture)
        assert tick.before.avatar == "ada"
        mixed = tick.before_share * last.picture + (1 - tick.before_share) * kai.frame(tick.frame)
        assert np.abs(tick.picture - mixed).max() <= 0.51
    for tick in ticks[FADE:]:
        assert tick.before is None
        np.testing.assert_array_equal(tick.picture, kai.frame(tick.frame))
    pictures = [last.picture, *(tick.picture for tick in ticks)]
    steps = [apart(one, other) for one, other in itertools.pairwise(pictures)]
    assert max(steps) < 0.35 * apart(last.picture, kai.frame(ticks[0].frame))


def test_another_size_is_a_cut(live: LiveAvatar, ada: Avatar, small: Avatar) -> None:
    run(live, 7)
    recast(live, small)
    first = live.tick()
    np.testing.assert_array_equal(first.picture, small.frame(first.frame))
    assert first.picture.shape == (144, 80)
    assert (first.before, first.before_share) == (None, 0.0)
    recast(live, ada)
    assert live.tick().picture.shape == (288, 160)


def test_before_the_first_tick_there_is_nothing_to_fade(live: LiveAvatar, kai: Avatar) -> None:
    recast(live, kai)
    first = live.tick()
    assert (first.index, first.avatar, first.before) == (0, "kai", None)
    np.testing.assert_array_equal(first.picture, kai.frame(0))


def test_there_and_back_at_once_has_no_jump(live: LiveAvatar, ada: Avatar, kai: Avatar) -> None:
    pictures = [tick.picture for tick in run(live, 5)]
    for number in range(12):
        recast(live, (kai, ada)[number % 2])
        ticks = run(live, number % 3 + 1)
        for tick in ticks:
            assert tick.before is not None
            assert tick.before.before is None
        pictures += [tick.picture for tick in ticks]
    steps = [apart(one, other) for one, other in itertools.pairwise(pictures)]
    assert max(steps) < 0.4 * apart(ada.frame(0), kai.frame(0))


def test_in_the_middle_of_a_switch_of_clips(live: LiveAvatar, ada: Avatar, kai: Avatar) -> None:
    live.push(speech_like(6.0))
    run(live, 60)
    live.show(NOD)
    while (tick := live.tick()).other is None:
        pass
    recast(live, kai)
    first = live.tick()
    assert (first.other, first.avatar) == (None, "kai")
    assert apart(first.picture, tick.picture) < 0.35 * apart(ada.frame(0), kai.frame(0))


def test_clips_are_those_of_the_new_presenter(live: LiveAvatar, ada: Avatar, kai: Avatar) -> None:
    live.show(NOD)
    recast(live, kai)
    assert [clip.name for clip in live.clips] == ["idle"]
    assert {tick.clip for tick in run(live, 40)} == {"idle"}
    recast(live, ada)
    assert live.show(NOD)
    assert NOD in {tick.clip for tick in run(live, 40)}


def test_an_interrupt_right_after_closes_the_mouth(live: LiveAvatar, kai: Avatar) -> None:
    live.push(speech_like(3.0))
    run(live, 20)
    mouth = FakeMouth()
    recast(live, kai, mouth)
    live.tick()
    assert live.interrupt() > 0
    live.tick()
    mouth.mels.clear()
    run(live, 5)
    assert mouth.mels == []


def test_silence_stays_silent(live: LiveAvatar, kai: Avatar) -> None:
    mouth = FakeMouth()
    run(live, 3)
    recast(live, kai, mouth)
    assert not any(tick.sound.any() or tick.speaking for tick in run(live, 20))
    assert mouth.mels == []


def test_from_another_thread_while_it_speaks(live: LiveAvatar, ada: Avatar, kai: Avatar) -> None:
    speech = speech_like(8.0)
    live.push(speech)
    live.finish()
    roles = [(avatar, AnchorFeatures(avatar, mouth), mouth) for avatar, mouth in
             ((kai, FakeMouth()), (ada, FakeMouth()))]  # fmt: skip
    stop = threading.Event()

    def switch() -> None:
        number = 0
        while not stop.is_set():
            live.recast(*roles[number % 2])
            number += 1

    thread = threading.Thread(target=switch)
    thread.start()
    ticks = run(live, 210)
    stop.set()
    thread.join()
    np.testing.assert_array_equal(said(ticks)[: speech.size], to_pcm16(speech))
    assert [tick.index for tick in ticks] == list(range(210))
    assert {tick.avatar for tick in ticks} == {"ada", "kai"}


def test_the_same_calls_give_the_same_ticks(ada: Avatar, kai: Avatar) -> None:
    def session() -> list[Tick]:
        mouth = FakeMouth()
        live, ticks = LiveAvatar(ada, AnchorFeatures(ada, mouth), mouth), []
        live.push(speech_like(2.0))
        live.finish()
        for number in range(80):
            if number in (20, 22, 60):
                recast(live, kai if number != 22 else ada)
            if number == 30:
                live.show(NOD)
            ticks.append(live.tick())
        return ticks

    for one, other in zip(session(), session(), strict=True):
        np.testing.assert_array_equal(one.picture, other.picture)
        assert (one.avatar, one.clip, one.frame, one.before_share) == (
            other.avatar,
            other.clip,
            other.frame,
            other.before_share,
        )
