"""Where settings come from, which source wins, and how a mistake in one is told."""

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import KouboError
from streaming.config_file import SettingsFault, is_secret, load_settings, parse_pairs
from streaming.settings import Settings

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("KOUBO_"):
            monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "koubo.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def fault(path: Path | None = None, flags: dict[str, object] | None = None) -> str:
    """The sentence of a mistake."""
    with pytest.raises(SettingsFault) as caught:
        load_settings(path, flags)
    sentence = str(caught.value)
    assert sentence[-1] in ".?"
    assert "\n" not in sentence
    assert "pydantic" not in sentence
    return sentence


def test_without_anything_it_is_the_defaults() -> None:
    assert load_settings().model_dump() == Settings().model_dump()


def test_flags_win_over_the_environment_and_that_over_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("max_sessions = 2\nmax_viewers = 3\nport = 1001\ndefault_avatar = 'kai'\n")
    monkeypatch.setenv("KOUBO_MAX_VIEWERS", "4")
    monkeypatch.setenv("KOUBO_PORT", "1002")
    settings = load_settings(path, {"port": 1003, "host": None, "default_avatar": None})
    assert (settings.max_sessions, settings.max_viewers, settings.port) == (2, 4, 1003)
    assert settings.default_avatar == "kai"
    assert settings.host == Settings().host


def test_lists_and_tables_are_written_as_toml_has_them(write: Write) -> None:
    path = write(
        'allowed_origins = ["https://a.example", "https://b.example"]\n'
        "drain_s = 5\n"
        "[[ice_servers]]\n"
        'url = "turn:turn.example:3478"\nusername = "koubo"\ncredential = "c"\n'
    )
    settings = load_settings(path)
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
    assert settings.drain_s == 5.0
    assert settings.ice_servers[0].url == "turn:turn.example:3478"


def test_a_list_of_the_environment_replaces_that_of_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write('allowed_origins = ["https://a.example"]\n')
    monkeypatch.setenv("KOUBO_ALLOWED_ORIGINS", '["https://c.example"]')
    assert load_settings(path).allowed_origins == ("https://c.example",)


def test_an_unknown_setting_is_told_with_the_one_that_was_meant(write: Write) -> None:
    path = write("max_session = 4\n")
    assert fault(path) == f"There is no setting 'max_session', named in {path}; did you mean max_sessions?"
    path = write("[server]\nport = 1\n")
    assert (
        fault(path) == f"There is no setting 'server', named in {path}; docs/settings.md lists all there are."
    )
    assert "'max_session'" in fault(flags={"max_session": 4})


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ("max_sessions = 0", ["max_sessions", "0", "greater than or equal to 1"]),
        ("max_sessions = 'many'", ["max_sessions", "'many'", "valid integer"]),
        ("port = 70000", ["port", "70000", "less than or equal to 65535"]),
        ("log_format = 'xml'", ["log_format", "'xml'", "'text' or 'json'"]),
        ("idle_close_s = -1", ["idle_close_s", "-1", "greater than 0"]),
        ("[[ice_servers]]\nurl = 'http://x'", ["ice_servers.0.url", "'http://x'", "stun|stuns|turn|turns"]),
        ("[[ice_servers]]\nusername = 'x'", ["ice_servers.0.url", "missing"]),
        ("allowed_origins = 'https://x'", ["allowed_origins", "'https://x'", "valid tuple"]),
    ],
)
def test_a_bad_value_is_told_with_key_value_and_rule(write: Write, toml: str, parts: list[str]) -> None:
    path = write(toml)
    sentence = fault(path)
    for part in [*parts, str(path)]:
        assert part in sentence


def test_a_mistake_names_the_place_that_it_was_made_in(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("max_sessions = 2\n")
    monkeypatch.setenv("KOUBO_MAX_SESSIONS", "none")
    assert "in the environment variable KOUBO_MAX_SESSIONS, cannot be 'none'" in fault(path)
    assert "in the flags, cannot be 0" in fault(path, {"max_sessions": 0})
    monkeypatch.delenv("KOUBO_MAX_SESSIONS")
    monkeypatch.setenv("KOUBO_ICE_SERVERS", "turn:turn.example")
    sentence = fault(path)
    assert "KOUBO_ICE_SERVERS is 'turn:turn.example', which is not valid JSON" in sentence


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, write: Write) -> None:
    missing = tmp_path / "missing.toml"
    assert str(missing) in fault(missing)
    assert "is a directory" in fault(tmp_path)
    path = write("max_sessions = \n")
    assert "not valid TOML" in fault(path)
    path.write_bytes(b"default_avatar = '\xff\xfe'\n")
    assert "not UTF-8" in fault(path)
    write("port = 1\nport = 2\n")
    assert "not valid TOML" in fault(path)


def secrets() -> list[str]:
    return [name for name in Settings.model_fields if is_secret(name)]


def test_which_settings_are_secret_is_known() -> None:
    assert {"operate_tokens", "watch_tokens", "turn_secret"} <= set(secrets())
    assert not {"port", "ice_servers", "log_format"} & set(secrets())


@pytest.mark.parametrize("name", secrets())
def test_no_mistake_shows_a_secret(name: str, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    for toml in (f"{name} = {{ a = 'S3CRET' }}", f"{name} = ['S3CRET', 5]", f"{name} = [['S3CRET']]"):
        assert "S3CRET" not in fault(write(toml))
    monkeypatch.setenv(f"KOUBO_{name.upper()}", '["S3CRET')
    try:
        load_settings()
    except KouboError as error:
        assert "S3CRET" not in str(error)  # noqa: PT017 -- some take any text, and are no fault at all


def test_the_credential_of_an_ice_server_is_not_shown(write: Write) -> None:
    sentence = fault(write("[[ice_servers]]\nurl = 'turn:x'\ncredential = 31337\n"))
    assert "ice_servers.0.credential" in sentence
    assert "31337" not in sentence


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], {}),
        (["max_sessions=4"], {"max_sessions": "4"}),
        (["default_avatar=a=b"], {"default_avatar": "a=b"}),
        (["default_avatar="], {"default_avatar": ""}),
        (['allowed_origins=["https://a"]', "port=1"], {"allowed_origins": ["https://a"], "port": "1"}),
    ],
)
def test_pairs_of_the_command_line(pairs: list[str], expected: dict[str, object]) -> None:
    assert parse_pairs(pairs) == expected


def test_pairs_become_settings() -> None:
    pairs = ["drain_s=1.5", 'ice_servers=[{"url": "stun:stun.example"}]', "log_format=json"]
    settings = load_settings(None, parse_pairs(pairs))
    assert settings.drain_s == 1.5
    assert settings.ice_servers[0].url == "stun:stun.example"
    assert settings.log_format == "json"


@pytest.mark.parametrize(
    ("pair", "word"),
    [
        ("max_sessions", "NAME=VALUE"),
        ("=4", "NAME=VALUE"),
        ("max_session=4", "did you mean max_sessions"),
        ("ice_servers=[", "not valid JSON"),
    ],
)
def test_a_pair_that_is_none_is_one_sentence(pair: str, word: str) -> None:
    with pytest.raises(SettingsFault, match=word):
        parse_pairs([pair])


def test_a_secret_in_a_broken_pair_is_not_shown() -> None:
    with pytest.raises(SettingsFault) as caught:
        parse_pairs(['operate_tokens=["S3CRET'])
    assert "S3CRET" not in str(caught.value)


def test_every_setting_can_be_given_in_each_way(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a default looks like in TOML and JSON is read back as the default."""
    plain = {
        name: value
        for name, value in json.loads(Settings().model_dump_json()).items()
        if value is not None and not is_secret(name)
    }
    toml = "".join(f"{name} = {json.dumps(value)}\n" for name, value in plain.items())
    assert set(tomllib.loads(toml)) == set(plain)
    assert load_settings(write(toml)).model_dump() == Settings().model_dump()
    for name, value in plain.items():
        monkeypatch.setenv(f"KOUBO_{name.upper()}", value if isinstance(value, str) else json.dumps(value))
    assert load_settings().model_dump() == Settings().model_dump()
