"""An avatar as one file: a zip with all that another machine needs, and a manifest of what is in it.

What comes from elsewhere is not trusted: only the files of a package are taken, by their exact names, within
bounds that count what is really unpacked; each is checked against the manifest, then the whole package by
`validate`, before it takes its place.
"""

import hashlib
import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from engine.anchor.card import CARD, Consent, card_text, read_card, write_card
from engine.anchor.package import MOUTH, check_free, check_name, own_avatars, package_files
from engine.anchor.package_checks import Check, problems
from engine.anchor.survey import Tell
from engine.anchor.unpack import CHUNK, MANIFEST, MAX_BYTES, SCHEMA, unpack
from engine.anchor.validate import validate
from engine.errors import AvatarError
from engine.file_lock import try_lock

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644

_IMPORT, _LOCK = ".import-", "lock"
_YOUNG_S = 60.0  # the lock of a new folder may be about to come


def export_avatar(
    folder: Path,
    output: Path,
    *,
    consent: Consent | None = None,
    force: bool = False,
    tell: Tell | None = None,
) -> Path:
    """Write the avatar in `folder` as the zip file `output`, whole or not at all; returns `output`.

    A shared mouth is packed into it. `consent` is written into the copy where the avatar, of schema 1, states
    none. `force` replaces a file. `tell` hears the steps "check", "mouth" and ("pack", KB, of how many).
    Raises AvatarError: the file exists, no consent or a second one, a damaged avatar, no place to write.
    """
    if output.exists() and not force:
        raise AvatarError(f"{output} exists already; choose another file or say --force.")
    card = read_card(folder)
    if card.consent and consent:
        raise AvatarError(f"The avatar {card.name} states a consent already; export it without another.")
    if not card.consent and not consent:
        raise AvatarError(
            f"The avatar {card.name} does not say who agreed to be shown; give their name with --consent-by, "
            "or with --rendered who drew it."
        )
    checks = [check for check in validate(folder, tell) if check.code != "consent"]
    _refuse(checks, f"{card.name} is not exported")
    name = folder.absolute().name
    packed = replace(card, name=name, mouth=MOUTH, consent=card.consent or consent)
    files = {key: path for key, path in package_files(folder, card).items() if key != CARD}
    try:
        _pack(card_text(packed).encode(), files, output, tell or _nobody)
    except OSError as error:
        raise AvatarError(f"{output} cannot be written ({error.strerror}); choose another place.") from error
    return output


def import_avatar(archive: Path, *, name: str | None = None, tell: Tell | None = None) -> Path:
    """Take the avatar out of a zip file into `own_avatars()`; returns its folder.

    `name` calls it otherwise than where it comes from. `tell` hears the steps ("unpack", KB, of how many),
    "check" and "mouth". Raises AvatarError for whatever is wrong with the file, for one without consent, or
    when the name is taken; then nothing is left behind. No other avatar is ever touched.
    """
    if name is not None:
        check_free(name)
    root = own_avatars()
    with _beside(root) as hidden:
        unpack(archive, hidden, tell or _nobody)
        card = read_card(hidden)
        name = name or card.name
        check_free(name)
        package = hidden.rename(hidden.with_name(name))
        write_card(package, replace(card, name=name, mouth=MOUTH))
        _refuse(validate(package, tell), f"{archive.name} is not imported")
        try:
            package.rename(root / name)
        except OSError as error:
            raise AvatarError(
                f"{root / name} cannot be written ({error.strerror}); choose another name."
            ) from error
    return root / name


def validate_archive(archive: Path, tell: Tell | None = None) -> list[Check]:
    """Look at a zip file as `import_avatar` does, without importing it."""
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "package"
        package.mkdir()
        try:
            unpack(archive, package, tell or _nobody)
            card = read_card(package)
            check_name(card.name)
        except AvatarError as error:
            return [Check("archive", "problem", str(error))]
        package = package.rename(package.with_name(card.name))
        whole = Check("archive", "ok", "Every file is as its manifest says.")
        return [whole, *validate(package, tell)]


def _nobody(step: str, done: int, of: int) -> None:
    """Hears nothing."""


def _refuse(checks: list[Check], what: str) -> None:
    found = problems(checks)
    if found:
        others = f" ({len(found) - 1} more: see `koubo avatar validate`)" if len(found) > 1 else ""
        raise AvatarError(f"{what}: {found[0].sentence}{others}")


@contextmanager
def _beside(root: Path) -> Iterator[Path]:
    """A folder on the disk of `root` until the end, hidden two levels deep, so that it is no avatar of it.

    `root` is made where it is missing, and removed again if it stays empty.
    """
    created = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=_IMPORT, dir=root) as folder,
            (Path(folder) / _LOCK).open("wb") as lock,
        ):
            try_lock(lock)
            hidden = Path(folder) / "package"
            hidden.mkdir()
            yield hidden
    except OSError as error:
        raise AvatarError(
            f"{root} cannot be written ({error.strerror}); check that you may write there."
        ) from error
    finally:
        if created and root.is_dir() and not any(root.iterdir()):
            root.rmdir()


def clear_imports(root: Path) -> None:
    """Remove what imports into `root` left behind that were killed."""
    for folder in root.glob(f"{_IMPORT}*"):
        lock = folder / _LOCK
        try:
            if lock.exists():
                with lock.open("rb") as file:
                    gone = try_lock(file)
                if not gone:
                    continue
                lock.unlink()
            elif time.time() - folder.stat().st_mtime < _YOUNG_S:
                continue
        except OSError:
            continue
        shutil.rmtree(folder, ignore_errors=True)


def _pack(card: bytes, files: Mapping[str, Path], output: Path, tell: Tell) -> None:
    total = sum(path.stat().st_size for path in files.values())
    if total > MAX_BYTES:
        raise AvatarError(f"Its files are larger than {MAX_BYTES >> 30} GB; use shorter clips.")
    part = output.with_name(output.name + ".part")
    entries = {CARD: {"bytes": len(card), "sha256": hashlib.sha256(card).hexdigest()}}
    done = 0
    try:
        with zipfile.ZipFile(part, "w") as archive:
            archive.writestr(_entry(CARD), card, zipfile.ZIP_DEFLATED)
            for name, path in files.items():
                digest, size = hashlib.sha256(), 0
                with path.open("rb") as source, archive.open(_entry(name), "w") as target:
                    while chunk := source.read(CHUNK):
                        digest.update(chunk)
                        size += len(chunk)
                        target.write(chunk)
                        tell("pack", (done + size) >> 10, total >> 10)
                done += size
                entries[name] = {"bytes": size, "sha256": digest.hexdigest()}
            manifest = json.dumps({"schema": SCHEMA, "files": entries}, indent=1)
            archive.writestr(_entry(MANIFEST), manifest, zipfile.ZIP_DEFLATED)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _entry(name: str) -> zipfile.ZipInfo:
    """The same for the same avatar, whoever packs it and when."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = _MODE << 16
    return entry
