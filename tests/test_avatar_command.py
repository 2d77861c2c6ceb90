"""`koubo avatar list, inspect, validate, export, import, delete` as they are typed."""

import json
import shutil
import zipfile
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner, Result

from engine.anchor import package
from engine.anchor.card import CARD, read_card
from engine.anchor.page import WIDTH
from engine.errors import AvatarError, BadMediaError, KouboError
from koubo import app
from tests.engine.anchor.test_package import old_card


def koubo(*words: str | Path, answer: str | None = None) -> Result:
    """The command as it is typed; a KouboError is raised, as the program's main catches it."""
    given = ["avatar", *(str(word) for word in words)]
    return CliRunner().invoke(app, given, input=answer, catch_exceptions=False, env={"COLUMNS": "200"})


@pytest.fixture
def own(avatar_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's avatars: `mei`. Shipped is `fake`. The command is typed in an empty folder."""
    monkeypatch.setattr(package, "_PACKAGED", avatar_folder.parent)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path / "own"))
    shutil.copytree(avatar_folder, tmp_path / "own" / "mei")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "own"


def here() -> set[str]:
    return {path.name for path in Path().iterdir()}


def test_the_list_says_what_each_is(own: Path) -> None:
    shown = koubo("list").stdout
    for word in (
        "fake",
        "mei",
        "Fake 假人",
        "shipped",
        "KOUBO_AVATARS",
        "160x192",
        "rendered: a program",
        "idle",
    ):
        assert word in shown
    rows = {row["name"]: row for row in json.loads(koubo("list", "--json").stdout)}
    assert rows.keys() == {"fake", "mei"}
    assert (rows["fake"]["where"], rows["mei"]["where"]) == ("shipped", "KOUBO_AVATARS")
    assert rows["mei"]["clips"][0]["seconds"] == 0.4
    assert rows["mei"]["consent"]["by"] == "a program"


def test_the_list_shows_damaged_ones_too(own: Path) -> None:
    (own / "mei" / CARD).write_text("{")
    assert "damaged" in koubo("list").stdout
    rows = {row["name"]: row for row in json.loads(koubo("list", "--json").stdout)}
    assert "damaged" in rows["mei"]["problem"]
    assert "problem" not in rows["fake"]


def test_inspect_tells_facts_and_writes_a_sheet(own: Path) -> None:
    done = koubo("inspect", "mei")
    for word in ("160x192", "clip idle", "CC0-1.0", "rendered: a program", "nobody is shown", "draws 64 px"):
        assert word in done.stdout
    assert "mei-sheet.jpg" in done.stderr
    assert here() == {"mei-sheet.jpg"}
    sheet = cv2.imread("mei-sheet.jpg")
    assert sheet is not None
    assert sheet.shape[1] == WIDTH


def test_inspect_in_json_with_another_sheet(own: Path, tmp_path: Path) -> None:
    facts = json.loads(koubo("inspect", own / "mei", "--sheet", "s.png", "--json").stdout)
    assert (facts["name"], facts["sheet"], facts["size"]) == ("mei", "s.png", [160, 192])
    assert here() == {"s.png"}


def test_inspect_of_what_is_not_there(own: Path) -> None:
    with pytest.raises(AvatarError, match="no avatar 'nobody'"):
        koubo("inspect", "nobody")
    with pytest.raises(BadMediaError, match=r"\.jpg or \.png"):
        koubo("inspect", "mei", "--sheet", "s.tiff")
    assert here() == set()


def test_validate_a_name_a_folder_and_a_file(own: Path) -> None:
    koubo("export", "mei")
    for what in ("mei", own / "mei", "mei.zip"):
        done = koubo("validate", what)
        assert done.exit_code == 0
        assert "✓  consent" in done.stdout
        report = json.loads(koubo("validate", what, "--json").stdout)
        assert report["verdict"] in ("ok", "advice")
    assert {check["code"] for check in report["checks"]} >= {"archive", "mouth", "silence"}


def test_validate_ends_with_1_on_a_problem(own: Path) -> None:
    (own / "mei" / "anchor.mp4").write_bytes(b"")
    done = koubo("validate", "mei")
    assert done.exit_code == 1
    assert "✗  clip" in done.stdout
    done = koubo("validate", "mei", "--json")
    assert (done.exit_code, json.loads(done.stdout)["verdict"]) == (1, "problem")
    Path("b.zip").write_bytes(b"no zip")
    assert koubo("validate", "b.zip").exit_code == 1
    with pytest.raises(AvatarError, match="no avatar"):
        koubo("validate", "c.zip")


def test_out_of_one_machine_into_another(own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert koubo("export", "mei").stdout.strip() == "mei.zip"
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path / "other"))
    done = koubo("import", "mei.zip")
    assert done.stdout.strip() == str(tmp_path / "other" / "mei")
    assert koubo("import", "mei.zip", "--name", "lin").exit_code == 0
    assert {row["name"] for row in json.loads(koubo("list", "--json").stdout)} == {"fake", "mei", "lin"}
    with pytest.raises(AvatarError, match="avatar mei already"):
        koubo("import", "mei.zip")


def test_a_file_is_replaced_only_by_force(own: Path) -> None:
    Path("f.zip").write_text("mine")
    with pytest.raises(AvatarError, match="--force"):
        koubo("export", "mei", "--output", "f.zip")
    assert Path("f.zip").read_text() == "mine"
    koubo("export", "mei", "--output", "f.zip", "--force")
    assert zipfile.is_zipfile("f.zip")


def test_an_old_package_goes_out_once_somebody_agreed(own: Path) -> None:
    old_card(own / "mei")
    with pytest.raises(KouboError, match="consent"):
        koubo("export", "mei", answer="Mei\nn\n")
    with pytest.raises(KouboError, match="--consent-by"):
        koubo("export", "mei", answer="")
    assert here() == set()
    koubo("export", "mei", "--consent-by", "Mei Lin", "--i-have-consent")
    koubo("import", "mei.zip", "--name", "lin")
    consent = read_card(own / "lin").consent
    assert consent is not None
    assert (consent.shown, consent.by) == ("person", "Mei Lin")
    koubo("export", "mei", "--rendered", "a studio", "--output", "drawn.zip")
    with pytest.raises(AvatarError, match="a consent already"):
        koubo("export", "lin", "--consent-by", "Somebody", "--i-have-consent")


def test_a_hostile_file_is_refused_in_one_sentence(own: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile("evil.zip", "w") as archive:
        archive.writestr("../../home/.bashrc", "evil")
    with pytest.raises(AvatarError, match="a file that no avatar has"):
        koubo("import", "evil.zip")
    assert {path.name for path in own.iterdir()} == {"mei"}
    assert not (tmp_path / "home").exists()


def test_deleting_asks_first(own: Path) -> None:
    for answer in ("n\n", ""):
        with pytest.raises(KouboError, match="Nothing was deleted"):
            koubo("delete", "mei", answer=answer)
    assert (own / "mei" / CARD).is_file()
    assert koubo("delete", "mei", answer="y\n").exit_code == 0
    assert not (own / "mei").exists()


def test_deleting_without_being_asked(own: Path) -> None:
    assert "mei is deleted" in koubo("delete", "mei", "--yes").stderr
    assert list(own.iterdir()) == []


def test_shipped_and_foreign_ones_stay(own: Path, avatar_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(avatar_folder, tmp_path / "far")
    for name in ("fake", str(tmp_path / "far")):
        with pytest.raises(AvatarError, match="stays as it is"):
            koubo("delete", name, "--yes")
    assert (tmp_path / "far" / CARD).is_file()
    assert (avatar_folder / CARD).is_file()


def test_the_commands_are_listed() -> None:
    shown = koubo("--help").stdout
    for command in ("list", "inspect", "validate", "export", "import", "delete", "create"):
        assert command in shown
