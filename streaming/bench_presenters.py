"""Presenters with other mouths, for benchmarks: temporary packages that share all else with the original."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from engine.anchor.card import CARD, read_card, write_card
from engine.anchor.package import find_avatar, list_avatars
from engine.errors import KouboError
from engine.mouth.sheet import MOUTH_SHEET, read_sheet

_MOUTH = "mouth"


@contextmanager
def staged_presenters(
    avatars: Sequence[str], mouth: str | None, also: str | None
) -> Iterator[tuple[list[str], str | None, dict[str, str]]]:
    """Presenters for sessions by turns, the one for a session beside them, and a server's environment.

    `mouth`, for all, and `also`, for the one beside, are folders of mouths. With neither nor `avatars` the
    list is empty: the server's default. Raises KouboError for what is not there.
    """
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        names = [read_card(find_avatar(name)).name for name in avatars]
        originals = names or list_avatars()[:1]
        if mouth:
            names = [_with_mouth(name, Path(mouth), root, f"bench-{name}") for name in originals]
        other = _with_mouth(originals[0], Path(also), root, f"bench-also-{originals[0]}") if also else None
        roots = os.pathsep.join(filter(None, (os.environ.get("KOUBO_AVATARS"), made)))
        yield names, other, {"KOUBO_AVATARS": roots} if mouth or also else {}


def _with_mouth(avatar: str, mouth: Path, root: Path, name: str) -> str:
    """Make a package of an avatar's files with another mouth."""
    if not (mouth / MOUTH_SHEET).is_file():
        raise KouboError(f"{mouth} is no folder of a mouth; make one with `koubo export`.")
    original, package = find_avatar(avatar), root / name
    package.mkdir()
    for file in original.iterdir():
        if file.name not in (CARD, _MOUTH):
            (package / file.name).symlink_to(file.resolve())
    shutil.copytree(mouth, package / _MOUTH)
    card = read_card(original)
    write_card(package, replace(card, name=name, mouth=_MOUTH, crop_size=read_sheet(mouth).size))
    return name
