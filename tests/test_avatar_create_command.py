"""`koubo avatar create` and `add-clip` as they are typed."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from engine.anchor import create as creating
from engine.anchor import package
from engine.anchor.card import read_card
from engine.errors import KouboError
from koubo import app
from tests.engine.anchor.test_create import Seen, at_rest
from tests.films import write
from tests.surveys import SIZE, without_face
from tests.tiny_mouth import write_tiny_mouth

AGREED = ("--consent-by", "Mei Lin", "--i-have-consent")


def koubo(*words: str | Path, answer: str | None = None) -> Result:
    """The command as it is typed; a KouboError is raised, as the program's main catches it."""
    given = ["avatar", *(str(word) for word in words)]
    return CliRunner().invoke(app, given, input=answer, catch_exceptions=False, env={"COLUMNS": "200"})


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(monkeypatch)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write(tmp_path / "me.mp4", [np.full((SIZE[1], SIZE[0], 3), 70, np.uint8)] * 130)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's avatars go; the shipped mouth is a tiny one."""
    write_tiny_mouth(tmp_path / "shipped" / "mouths" / "lite192", 64)
    monkeypatch.setattr(package, "_PACKAGED", tmp_path / "shipped")
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path / "own"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "own"


def test_create_writes_where_avatars_are_found(film: Path, own: Path, seen: Seen) -> None:
    result = koubo("create", film, "--name", "mei", "--title", "Mei", "--title-zh", "梅", *AGREED)
    assert result.exit_code == 0
    assert result.stdout.strip() == str(own / "mei")
    card = read_card(package.find_avatar("mei"))
    assert card.title == {"en": "Mei", "zh": "梅"}
    assert card.consent is not None
    assert (card.consent.shown, card.consent.by) == ("person", "Mei Lin")
    assert "words that were never filmed" in card.consent.statement
    for word in ("Idle loop:", "trembles by", "koubo serve", "looking at the footage", "writing pictures"):
        assert word in result.stderr


def test_consent_is_asked_for_and_stored(film: Path, own: Path, seen: Seen) -> None:
    result = koubo("create", film, "--name", "mei", answer="Mei Lin\ny\n")
    assert "Name of the person in the video" in result.output
    assert "words that were never filmed" in result.output
    consent = read_card(own / "mei").consent
    assert consent is not None
    assert consent.by == "Mei Lin"


@pytest.mark.parametrize("answer", ["", "Mei Lin\n", "Mei Lin\nn\n"])
def test_without_consent_nothing_is_made(film: Path, own: Path, seen: Seen, answer: str) -> None:
    with pytest.raises(KouboError, match=r"consent|asked"):
        koubo("create", film, "--name", "mei", answer=answer)
    assert not own.exists()


def test_a_name_alone_is_no_consent(film: Path, own: Path, seen: Seen) -> None:
    with pytest.raises(KouboError, match="consent"):
        koubo("create", film, "--name", "mei", "--consent-by", "Mei Lin", answer="n\n")
    assert not own.exists()


def test_a_character_says_who_made_it(film: Path, own: Path, seen: Seen) -> None:
    koubo("create", film, "--name", "ruri", "--rendered", "Studio K")
    consent = read_card(own / "ruri").consent
    assert consent is not None
    assert (consent.shown, consent.by) == ("rendered", "Studio K")


def test_what_is_wrong_is_shown_as_a_list(film: Path, own: Path, seen: Seen) -> None:
    seen.survey = without_face(at_rest(), 30, 100)
    result = None
    with pytest.raises(KouboError, match=r"No presenter was made of me\.mp4"):
        result = koubo("create", film, "--name", "mei", *AGREED)
    assert result is None
    assert not own.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--loop", "sideways"), "no loop called sideways"),
        (("--tracker", "psychic"), "no face tracker"),
    ],
)
def test_words_it_does_not_know(
    film: Path, own: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    with pytest.raises(KouboError, match=says):
        koubo("create", film, "--name", "mei", *AGREED, *words)
    assert not own.exists()


def test_a_name_that_is_taken_is_told_before_anything_is_asked(film: Path, own: Path, seen: Seen) -> None:
    koubo("create", film, "--name", "mei", *AGREED)
    with pytest.raises(KouboError, match="mei"):
        koubo("create", film, "--name", "mei")


def test_a_missing_video_is_told_before_anything_is_asked(own: Path) -> None:
    with pytest.raises(KouboError, match="no video file"):
        koubo("create", "nowhere.mp4", "--name", "mei")


def test_another_folder_can_be_named(film: Path, own: Path, tmp_path: Path, seen: Seen) -> None:
    result = koubo("create", film, "--name", "mei", "--output", tmp_path / "here", *AGREED)
    assert (tmp_path / "here" / "mei" / "avatar.json").is_file()
    assert str(tmp_path / "here" / "mei") in result.stdout


def test_a_clip_is_added_by_name(film: Path, own: Path, seen: Seen) -> None:
    koubo("create", film, "--name", "mei", *AGREED)
    result = koubo("add-clip", "mei", film, "--clip-name", "nod", "--kind", "greeting")
    assert result.stdout.strip() == str(own / "mei" / "clips" / "nod.mp4")
    assert [(clip.name, clip.kind) for clip in read_card(own / "mei").clips] == [
        ("idle", "idle"),
        ("nod", "greeting"),
    ]


def test_clips_of_unknown_kinds_and_for_shipped_presenters(
    film: Path, own: Path, avatar_folder: Path
) -> None:
    with pytest.raises(KouboError, match="no kind of clip called dance"):
        koubo("add-clip", "mei", film, "--clip-name", "nod", "--kind", "dance")
    with pytest.raises(KouboError, match="There is no avatar"):
        koubo("add-clip", "nobody", film, "--clip-name", "nod")


def test_a_shipped_presenter_takes_no_clips(
    film: Path, avatar_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "_PACKAGED", avatar_folder.parent)
    with pytest.raises(KouboError, match="came with Koubo"):
        koubo("add-clip", "fake", film, "--clip-name", "nod")


def test_the_survey_is_read_once(film: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    count = 0
    survey = seen._survey

    def counted(*given: object) -> object:
        nonlocal count
        count += 1
        return survey(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(creating, "survey", counted)
    koubo("create", film, "--name", "mei", *AGREED)
    assert count == 1
    assert seen.survey is not None
