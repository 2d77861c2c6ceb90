"""The errors a user can act on. Their text is one sentence: what is wrong, what to do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.anchor.finding import Finding


class KouboError(Exception):
    """Base of every error that is the user's to solve; shown without a traceback."""


class BadMediaError(KouboError):
    """A sound or video file cannot be used."""


class NoPictureError(BadMediaError):
    """A file that should be a video holds no picture."""


class FootageError(KouboError):
    """Footage that no avatar can be made of; `findings` say why, advice included."""

    def __init__(self, findings: "Sequence[Finding]") -> None:
        self.findings = tuple(findings)
        super().__init__(" ".join(f.sentence for f in findings if f.severity == "problem"))


class AvatarError(KouboError):
    """An avatar package is missing, damaged or of another schema."""


class NoFaceError(KouboError):
    """A picture or video holds no usable face."""


class MissingToolError(KouboError):
    """A program, package or file that this command needs is not installed."""
