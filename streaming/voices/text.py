"""Text prepared for a voice: what script it is in, and where it may be cut."""

import re
import unicodedata
from itertools import pairwise

FIRST_PIECE_CHARS = 80
"""The first piece is kept short, so that the first words start early."""

PIECE_CHARS = 240

_SENTENCE_END = re.compile(r"[。！？!?…；]+[”’」』）)\"']*|\.+[”’)\"']*(?=\s)|\n")
_PAUSE = re.compile(r"(?<=[，、：；,:;—])\s*")

_SCRIPTS = (
    (re.compile(r"[\u3040-\u30ff\u31f0-\u31ff]"), "ja"),
    (re.compile(r"[\uac00-\ud7af\u1100-\u11ff]"), "ko"),
    (re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"), "cmn"),
    (re.compile(r"[\u0400-\u04ff]"), "ru"),
    (re.compile(r"[\u0370-\u03ff]"), "el"),
    (re.compile(r"[\u0600-\u06ff]"), "ar"),
    (re.compile(r"[\u0900-\u097f]"), "hi"),
)


def voice_of_script(text: str) -> str | None:
    """The voice that the script of a text asks for, or None for Latin text.

    Kana comes before Han, because Japanese is written with both; Han among Latin words is still Mandarin.
    """
    for pattern, voice in _SCRIPTS:
        if pattern.search(text):
            return voice
    return None


def has_words(text: str) -> bool:
    """Whether there is anything to pronounce: a letter or a digit of any script."""
    return any(unicodedata.category(char)[0] in "LN" for char in text)


def pieces(text: str) -> list[str]:
    """A text cut into pieces to be spoken one after the other: sentences, long ones at pauses, then at words.

    Nothing is lost but white space at the cuts and pieces without a letter or digit.
    """
    found: list[str] = []
    for sentence in _sentences(_printable(text)):
        limit = PIECE_CHARS if found else FIRST_PIECE_CHARS
        for part in _fit(sentence.strip(), limit):
            if has_words(part):
                found.append(part)
    return found


def _printable(text: str) -> str:
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cs") and c != "\n" else c for c in text)


def _sentences(text: str) -> list[str]:
    cuts = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    return [text[start:stop] for start, stop in pairwise(cuts)]


def _fit(sentence: str, limit: int) -> list[str]:
    if len(sentence) <= limit:
        return [sentence]
    cut = _cut(sentence, limit)
    return [sentence[:cut].strip(), *_fit(sentence[cut:].strip(), PIECE_CHARS)]


def _cut(sentence: str, limit: int) -> int:
    """The last place before the limit where a speaker would breathe; else between words; else anywhere."""
    ends = [m.end() for m in _PAUSE.finditer(sentence, 0, limit) if m.end() > limit // 4]
    if ends:
        return ends[-1]
    space = sentence.rfind(" ", limit // 4, limit)
    return space + 1 if space > 0 else limit
