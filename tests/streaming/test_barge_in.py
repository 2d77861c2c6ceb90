"""Echo alone never counts as a visitor; a visitor over it does, and soon. Real voices, simulated time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine.speech import espeak
from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples, load_speech, to_pcm16
from streaming.barge_in import BargeIn, Turn
from tests.fakes import room_noise
from tests.rooms import echo_of

PACKET = SAMPLE_RATE // 50
WITHIN_S = 0.3
LEVEL_DB = -26.0
"""Level of a voice while it speaks; what it is for most microphones and voices of agents."""

PRESENTERS = ("en-us", "cmn", "de", "ja", "fr-fr", "es")
STORY = {
    "en-us": (
        "Good evening, and welcome. Tonight we look at the weather, at the news from the harbour, "
        "and at a new bridge that opens on Friday. After that, there is music, and your questions."
    ),
    "cmn": (
        "大家晚上好，欢迎收看今天的节目。今天我们来看看天气，看看港口的新闻，"
        "还有星期五开通的新桥。之后是音乐，我们会回答您的问题。"
    ),
    "de": (
        "Guten Abend und herzlich willkommen. Heute geht es um das Wetter, um Neues aus dem Hafen "
        "und um die neue Brücke, die am Freitag eröffnet wird. Danach gibt es Musik."
    ),
    "ja": (
        "こんばんは、ようこそ。今夜は天気と、港のニュースと、"
        "金曜日に開通する新しい橋についてお伝えします。その後は音楽です。"
    ),
    "fr-fr": (
        "Bonsoir et bienvenue. Ce soir nous parlons du temps, des nouvelles du port et du nouveau "
        "pont qui ouvre vendredi. Ensuite, de la musique, et nous répondons à vos questions."
    ),
    "es": (
        "Buenas noches y bienvenidos. Hoy hablamos del tiempo, de las noticias del puerto y del "
        "nuevo puente que se abre el viernes. Después hay música, y respondemos a sus preguntas."
    ),
}
QUESTIONS = (
    "Excuse me, can I ask something?",
    "Wait, what was that?",
    "No, stop, please.",
    "And what about me?",
)
SECONDS = 9.0
NEVER_S = SECONDS


@dataclass(frozen=True)
class Trial:
    """One conversation: what is played, what the visitor's microphone hears, when the visitor began."""

    played: Samples
    heard: Samples
    onset_s: float


def levelled(sound: Samples) -> Samples:
    """At LEVEL_DB while it speaks; begins with the first 20 ms that are within 15 dB of that."""
    if not sound.size:
        return sound
    level = np.sqrt(np.mean(sound[np.abs(sound) > 0.05 * np.abs(sound).max()] ** 2))
    frames = np.sqrt(np.mean(sound[: sound.size // PACKET * PACKET].reshape(-1, PACKET) ** 2, axis=1))
    begin = int(np.argmax(frames > level * 10 ** (-15 / 20))) * PACKET
    return np.asarray(sound[begin:] * 10 ** (LEVEL_DB / 20) / level, np.float32)


def filled(sound: Samples, seconds: float) -> Samples:
    """As long as that, said again where it is too short."""
    return np.resize(sound, round(seconds * SAMPLE_RATE))


def trial(seed: int, presenter: Samples, visitor: Samples) -> Trial:
    """A room, a delay of up to 500 ms, an echo 25 to 3 dB below the voice, a visitor about as loud as it."""
    rng = np.random.default_rng(seed)
    played = filled(levelled(presenter), SECONDS)
    echo = echo_of(
        played, rng.uniform(0, 0.5), rng.uniform(-25, -3), room_s=rng.uniform(0.15, 0.5), seed=seed
    )
    onset = rng.uniform(2.0, 5.0)
    voice = np.zeros_like(echo)
    own = levelled(visitor)[: round(3 * SAMPLE_RATE)] * 10 ** (rng.uniform(-6, 3) / 20)
    begin = round(onset * SAMPLE_RATE)
    voice[begin : begin + own.size] = own
    return Trial(played, echo + voice + room_noise(SECONDS, 0.0006, seed), onset)


def turns(played: Samples, heard: Samples, *, late_s: float = 0.0, seed: int = 0) -> list[tuple[float, Turn]]:
    """What is told, and when. Ticks leave every 40 ms; packets come every 20, late by `late_s` on average."""
    rng = np.random.default_rng(seed)
    ticks = [((n + 1) * 0.04, 0, n) for n in range(played.size // SAMPLES_PER_TICK)]
    packets = []
    arrival = 0.0
    for n in range(heard.size // PACKET):
        arrival = max(arrival, (n + 1) * 0.02 + rng.exponential(late_s))
        packets.append((arrival, 1, n))
    pcm, barge_in, told = to_pcm16(played), BargeIn(), []
    for now, kind, n in sorted(ticks + packets):
        if kind == 0:
            barge_in.said(n, pcm[n * SAMPLES_PER_TICK : (n + 1) * SAMPLES_PER_TICK])
        else:
            told += [(now, turn) for turn in barge_in.heard(heard[n * PACKET : (n + 1) * PACKET])]
    return told


def starts(told: list[tuple[float, Turn]]) -> list[float]:
    return [now for now, turn in told if turn is Turn.STARTED]


@pytest.fixture(scope="module")
def voices() -> dict[str, Samples]:
    """Presenters of six languages, visitors of four sentences by two voices."""
    spoken = {voice: espeak.speak(text, voice).samples for voice, text in STORY.items()}
    for number, question in enumerate(QUESTIONS):
        spoken[f"visitor-{number}"] = espeak.speak(question, ("en-gb", "en-us")[number % 2]).samples
    return spoken


NOBODY = np.zeros(0, np.float32)


def test_echo_alone_never_counts(voices: dict[str, Samples]) -> None:
    for seed in range(12):
        conversation = trial(seed, voices[PRESENTERS[seed % len(PRESENTERS)]], NOBODY)
        assert turns(conversation.played, conversation.heard, seed=seed) == [], seed


def test_a_visitor_over_the_echo_counts_within_300_ms(voices: dict[str, Samples]) -> None:
    delays = []
    for seed in range(12):
        presenter, visitor = PRESENTERS[seed % len(PRESENTERS)], f"visitor-{seed % len(QUESTIONS)}"
        conversation = trial(seed, voices[presenter], voices[visitor])
        begun = starts(turns(conversation.played, conversation.heard))
        assert all(at >= conversation.onset_s for at in begun)
        delays.append(begun[0] - conversation.onset_s if begun else 9.0)
    assert np.median(delays) < 0.2
    assert sum(delay > WITHIN_S for delay in delays) <= 2, delays


@pytest.mark.slow
def test_with_people_of_librispeech(data_folder: Path) -> None:
    """Conversations of all the people there are, two by two: counts, not wishes."""
    files = sorted((data_folder / "speech" / "en").glob("*.flac"))
    people = [load_speech(file)[: 12 * SAMPLE_RATE] for file in files]
    false, early, delays = 0, 0, []
    for seed in range(len(people) // 2):
        presenter, visitor = people[2 * seed], people[2 * seed + 1]
        alone = trial(seed, presenter, NOBODY)
        false += bool(turns(alone.played, alone.heard, late_s=0.01, seed=seed))
        both = trial(seed, presenter, visitor)
        begun = starts(turns(both.played, both.heard, late_s=0.01, seed=seed))
        early += any(at < both.onset_s for at in begun)
        delays.append(next((at - both.onset_s for at in begun if at >= both.onset_s), NEVER_S))
    late = sum(WITHIN_S < delay < NEVER_S for delay in delays)
    missed = delays.count(NEVER_S)
    median, slow = np.percentile(delays, (50, 90))
    print(
        f"\n{len(delays)} each: {false} false, {early} early, {late} late, {missed} missed, "
        f"median {median:.3f} s, p90 {slow:.3f} s"
    )
    assert false <= 0.025 * len(delays)
    assert early <= 0.025 * len(delays)
    assert late + missed <= 0.15 * len(delays)


@pytest.mark.parametrize("late_s", [0.01, 0.04])
def test_packets_that_come_late_change_nothing(voices: dict[str, Samples], late_s: float) -> None:
    for seed in range(3):
        alone = trial(seed, voices["en-us"], NOBODY)
        assert turns(alone.played, alone.heard, late_s=late_s, seed=seed) == []
        both = trial(seed, voices["en-us"], voices["visitor-0"])
        begun = starts(turns(both.played, both.heard, late_s=late_s, seed=seed))
        assert both.onset_s < begun[0] < both.onset_s + 2 * WITHIN_S


@pytest.mark.parametrize("parts_per_million", [-20, 20])
def test_clocks_that_differ_do_not_make_an_echo_a_visitor(
    voices: dict[str, Samples], parts_per_million: int
) -> None:
    for seed in range(3):
        alone = trial(seed, filled(voices["en-us"], 30), NOBODY)
        at = np.arange(alone.heard.size) * (1 + parts_per_million * 1e-6)
        drifting = np.interp(at, np.arange(alone.heard.size), alone.heard).astype(np.float32)
        assert turns(alone.played, drifting) == []


def test_without_a_presenter_a_voice_counts_and_its_end_as_well(voices: dict[str, Samples]) -> None:
    silence = np.zeros(4 * SAMPLE_RATE, np.float32)
    heard = silence + room_noise(4.0, 0.0006)
    own = levelled(voices["visitor-0"])[: round(1.5 * SAMPLE_RATE)]
    heard[SAMPLE_RATE : SAMPLE_RATE + own.size] += own
    told = turns(silence, heard)
    assert [turn for _, turn in told] == [Turn.STARTED, Turn.STOPPED]
    assert 1.0 < told[0][0] < 1.2
    assert 0.3 < told[1][0] - 1 - own.size / SAMPLE_RATE < 0.9


def test_a_quiet_room_is_no_visitor(voices: dict[str, Samples]) -> None:
    played = filled(levelled(voices["en-us"]), 6)
    assert turns(played, room_noise(6.0, 0.002)) == []


def test_slots_that_were_skipped_keep_the_two_sounds_in_step(voices: dict[str, Samples]) -> None:
    played = filled(levelled(voices["en-us"]), 8)
    stalled = played.copy()
    hole = slice(100 * SAMPLES_PER_TICK, 108 * SAMPLES_PER_TICK)
    stalled[hole] = 0
    heard = echo_of(stalled, 0.1, -6, room_s=0.2, seed=1)
    pcm, barge_in, told = to_pcm16(played), BargeIn(), []
    for slot in range(200):
        if not 100 <= slot < 108:
            barge_in.said(slot, pcm[slot * SAMPLES_PER_TICK : (slot + 1) * SAMPLES_PER_TICK])
        told += barge_in.heard(heard[slot * SAMPLES_PER_TICK : (slot + 1) * SAMPLES_PER_TICK])
    assert told == []


def test_a_microphone_that_was_lost_for_a_while_is_put_in_step_again(voices: dict[str, Samples]) -> None:
    """Three seconds of it never arrive; the echo after that is not taken for a visitor."""
    played = filled(levelled(voices["en-us"]), 14)
    heard = echo_of(played, 0.25, -10, room_s=0.2, seed=1)
    pcm, barge_in, told = to_pcm16(played), BargeIn(), []
    for slot in range(350):
        barge_in.said(slot, pcm[slot * SAMPLES_PER_TICK : (slot + 1) * SAMPLES_PER_TICK])
        if not 100 <= slot < 175:
            told += barge_in.heard(heard[slot * SAMPLES_PER_TICK : (slot + 1) * SAMPLES_PER_TICK])
    assert told == []


def test_pieces_of_any_size_make_no_difference(voices: dict[str, Samples]) -> None:
    heard = np.zeros(2 * SAMPLE_RATE, np.float32)
    own = levelled(voices["visitor-1"])[:SAMPLE_RATE]
    heard[8000 : 8000 + own.size] = own
    for size in (1, 160, 333, 5000):
        barge_in, told, slot = BargeIn(), [], 0
        for start in range(0, heard.size, size):
            while slot * SAMPLES_PER_TICK < start + size:
                barge_in.said(slot, np.zeros(SAMPLES_PER_TICK, np.int16))
                slot += 1
            told += barge_in.heard(heard[start : start + size])
        assert told[0] is Turn.STARTED
