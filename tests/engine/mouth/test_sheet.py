import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import AvatarError
from engine.mouth.sheet import MOUTH_SHEET, SCHEMA, MouthSheet, file_hash, read_sheet, write_sheet

SHEET = MouthSheet("tiny", 48, ((3, 48, 48), (12, 24, 24), (8, 1, 1)), 3, {"minutes": 4, "by": "你"})


def content(**changes: Any) -> dict[str, Any]:
    return {
        "schema": SCHEMA, "preset": "tiny", "size": 48, "mel_lead_ticks": 3,
        "maps": [[3, 48, 48]], "trained": {}, **changes,
    }  # fmt: skip


def test_a_sheet_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_sheet(tmp_path, SHEET)
    assert read_sheet(tmp_path) == SHEET


def test_maps_are_named_in_order() -> None:
    assert SHEET.map_names == ["skip0", "skip1", "skip2"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": 1}, "koubo export --avatar"),
        ({"schema": 3}, "schema 3"),
        ({"schema": "two"}, "schema 'two'"),
        ({"size": "large"}, "damaged"),
        ({"maps": [[3, 48]]}, "damaged"),
        ({"maps": None}, "damaged"),
        ({"trained": 5}, "damaged"),
    ],
)
def test_other_sheets_are_refused_in_one_sentence(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    (tmp_path / MOUTH_SHEET).write_text(json.dumps(content(**changes)))
    with pytest.raises(AvatarError, match=says) as caught:
        read_sheet(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["schema", "preset", "size", "mel_lead_ticks", "maps", "trained"])
def test_each_entry_is_needed(tmp_path: Path, key: str) -> None:
    (tmp_path / MOUTH_SHEET).write_text(json.dumps({k: v for k, v in content().items() if k != key}))
    with pytest.raises(AvatarError, match=key):
        read_sheet(tmp_path)


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "7"])
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / MOUTH_SHEET).write_text(text)
    with pytest.raises(AvatarError, match="damaged"):
        read_sheet(tmp_path)


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match="missing"):
        read_sheet(tmp_path)


def test_a_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(data)
    assert file_hash(tmp_path / "file") == hashlib.sha256(data).hexdigest()
