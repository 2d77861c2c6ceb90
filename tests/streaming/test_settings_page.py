"""docs/settings.md holds every setting, as it is."""

import re
from pathlib import Path

import pytest

from streaming.settings import Settings
from streaming.settings_page import settings_page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "settings.md"
SOURCES = ("engine", "commands", "streaming", "training", "trt_build")
OURS_ALONE = {"KOUBO_DATA"}
"""Read by tests only."""


def rows() -> dict[str, list[str]]:
    """The cells of each setting's row in the page."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `") and line.count(" | ") == 3:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found[cells[0].strip("`")] = cells[1:]
    return found


def test_the_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page(), (
        "docs/settings.md is not up to date: python -m streaming.settings_page"
    )


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_explained(name: str) -> None:
    default, values, meaning = rows()[name]
    assert values, f"{name}: nothing says what is allowed"
    assert len(meaning) > 10, f"{name} has no docstring in streaming/settings.py"
    assert meaning.endswith((".", ")")), f"{name}: {meaning!r} is no sentence"
    field = Settings.model_fields[name]
    if isinstance(field.default, int | float) and not isinstance(field.default, bool):
        assert float(default.strip("`")) == field.default


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("port", "integer from 0 to 65535"),
        ("idle_close_s", "number above 0"),
        ("log_format", "`text`, `json`"),
        ("operate_tokens", "list (secret)"),
        ("allowed_origins", "list (text)"),
        ("tls_cert", "path"),
        ("relay_server", "true or false"),
    ],
)
def test_what_is_allowed_is_told(name: str, values: str) -> None:
    assert rows()[name][1] == values


def test_variables_that_are_no_settings_are_explained_too() -> None:
    read = set()
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            read |= set(
                re.findall(r"(?:environ(?:\.get)?[\[(]|getenv\(|envvar=)\s*\"(KOUBO_[A-Z_]+)", source)
            )
    settings = {f"KOUBO_{name.upper()}" for name in Settings.model_fields}
    page = PAGE.read_text(encoding="utf-8")
    assert {"KOUBO_CONFIG", "KOUBO_CACHE"} <= read
    for name in read - settings - OURS_ALONE:
        assert f"`{name}`" in page
