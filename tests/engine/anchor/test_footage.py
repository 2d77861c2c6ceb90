"""Where the footage of an avatar lies."""

from pathlib import Path

from engine.anchor.footage import footage_of, forget_footage, remember_footage


def test_it_is_remembered_beside_the_package(tmp_path: Path) -> None:
    folder = tmp_path / "avatars" / "mine"
    folder.mkdir(parents=True)
    video = tmp_path / "我的 video.mp4"
    assert footage_of(folder) is None
    remember_footage(folder, video)
    assert footage_of(folder) == video.resolve()
    assert list(folder.iterdir()) == []
    other = folder.with_name("other")
    remember_footage(other, tmp_path / "b.mp4")
    assert footage_of(folder) == video.resolve()
    forget_footage(folder)
    assert footage_of(folder) is None
    assert footage_of(other) == (tmp_path / "b.mp4").resolve()
    forget_footage(folder)


def test_a_damaged_note_is_no_note(tmp_path: Path) -> None:
    for content in ("{", "[1]", '{"mine": 5}'):
        (tmp_path / ".footage.json").write_text(content)
        assert footage_of(tmp_path / "mine") is None
    remember_footage(tmp_path / "mine", tmp_path / "a.mp4")
    assert footage_of(tmp_path / "mine") == (tmp_path / "a.mp4").resolve()
    assert [path.name for path in tmp_path.iterdir()] == [".footage.json"]
