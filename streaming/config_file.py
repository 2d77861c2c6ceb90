"""Settings from flags, the environment and one TOML file, in this order; faults are one sentence each."""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretBytes, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from engine.errors import KouboError
from streaming.logs import HIDDEN
from streaming.settings import Settings

PREFIX = "KOUBO_"
REFERENCE = "docs/settings.md"

_SECRET_WORDS = ("token", "key", "secret", "password", "credential")


class SettingsFault(KouboError):
    """A setting that is unknown or cannot be used."""


def load_settings(path: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings: `flags` that are not None, then environment variables, then the TOML file at `path`.

    Raises SettingsFault with the key, the value and what is allowed.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    for name in given:
        _check_known(name, "the flags")
    in_file = read_config(path) if path else {}

    class Configured(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, in_file)

    try:
        return Configured(**given)
    except SettingsError as error:
        raise SettingsFault(_unreadable_environment(Configured)) from error
    except ValidationError as error:
        raise SettingsFault(_sentence(error.errors()[0], given, path)) from error


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a TOML file. Raises SettingsFault when it cannot be read or names unknown ones."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsFault(
            f"The settings file {path} cannot be read ({(error.strerror or str(error)).lower()}); "
            "check the path given by --config or KOUBO_CONFIG."
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsFault(f"The settings file {path} is not UTF-8 text; save it as such.") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsFault(f"The settings file {path} is not valid TOML: {_lower(str(error))}.") from error
    for name in values:
        _check_known(name, str(path))
    return values


def parse_pairs(pairs: Sequence[str]) -> dict[str, object]:
    """Settings given as NAME=VALUE on the command line; lists and tables are JSON.

    Raises SettingsFault for what has another form.
    """
    found: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise SettingsFault(
                f"--set {pair} is not of the form NAME=VALUE; write it like --set max_sessions=4."
            )
        _check_known(name, "the flags")
        found[name] = value
        if value[:1] in ("[", "{"):
            try:
                found[name] = json.loads(value)
            except json.JSONDecodeError as error:
                raise SettingsFault(f"--set {name}: {_shown(name, value)} is not valid JSON.") from error
    return found


def is_secret(name: str) -> bool:
    """Whether the value of a setting must not be shown."""
    field = Settings.model_fields.get(name)
    return field is not None and _holds_secret(field.annotation)


def _holds_secret(annotation: object) -> bool:
    return annotation in (SecretStr, SecretBytes) or any(map(_holds_secret, get_args(annotation)))


def _check_known(name: str, where: str) -> None:
    if name in Settings.model_fields:
        return
    near = difflib.get_close_matches(name, Settings.model_fields, 1, cutoff=0.75)
    advice = f"did you mean {near[0]}?" if near else f"{REFERENCE} lists all there are."
    raise SettingsFault(f"There is no setting {name!r}, named in {where}; {advice}")


def _sentence(fault: ErrorDetails, given: Mapping[str, object], path: Path | None) -> str:
    """What is wrong with a value, where it was given, and what is allowed."""
    if not fault["loc"]:
        # A rule over several settings, in words of its own.
        return f"The settings do not fit together: {_rule(fault)}."
    name = str(fault["loc"][0])
    inner = [str(part) for part in fault["loc"][1:]]
    place = ".".join([name, *inner])
    if name in given:
        where = "in the flags"
    elif PREFIX + name.upper() in {key.upper() for key in os.environ}:
        where = f"in the environment variable {PREFIX}{name.upper()}"
    else:
        where = f"in {path}"
    if fault["type"] == "missing":
        return f"The setting {place}, {where}, is missing."
    value = _shown(place, fault["input"])
    return f"The setting {place}, {where}, cannot be {value}: {_rule(fault)}."


def _shown(place: str, value: object) -> str:
    secret = is_secret(place.partition(".")[0]) or any(word in place for word in _SECRET_WORDS)
    return HIDDEN if secret or isinstance(value, Mapping) else repr(value)


def _rule(fault: ErrorDetails) -> str:
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return _lower(message).replace("input should", "it should", 1).rstrip(".")


def _unreadable_environment(settings: type[BaseSettings]) -> str:
    """Names the variable whose JSON cannot be read."""
    source = EnvSettingsSource(settings)
    for name, field in settings.model_fields.items():
        value, _, is_complex = source.get_field_value(field, name)
        try:
            source.prepare_field_value(name, field, value, is_complex)
        except ValueError:
            return (
                f"The environment variable {PREFIX}{name.upper()} is {_shown(name, value)}, which is not "
                "valid JSON; lists and tables are written as JSON there."
            )
    return "An environment variable of the settings is not valid JSON; lists and tables are written as JSON."


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
