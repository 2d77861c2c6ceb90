"""Text prepared for a voice: what script it is in, and where it may be cut."""

import re
import unicodedata
from itertools import pairwise

FIRST_PIECE_CHARS = 80
"""The first piece is kept short, so that the first words start early. A Chinese character counts as three."""

PIECE_CHARS = 240

_WIDE = 3
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = r"\u3040-\u30ff\u31f0-\u31ff"
_HANGUL = r"\uac00-\ud7af\u1100-\u11ff"
_LATIN = r"A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"

_CLOSING = "”’」』）)\"'"
_SENTENCE_END = re.compile(rf"[。！？!?…；]+[{_CLOSING}]*|\.+[{_CLOSING}]*(?=\s)|\n")
_PAUSE = re.compile(r"[，、：；,:;—]+(?!\d)\s*")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|No|Fig|Inc|Ltd|Co|Corp|approx|dept|est|Gen|Col|Sgt|Capt|Rev|Hon"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|e\.g|i\.e|a\.k\.a)|\b[A-Z](?:\.[A-Z])*)\.$"
)
_WEAK_ABBREVIATION = re.compile(r"\b(?:etc|a\.m|p\.m|[A-Z](?:\.[A-Z])+|Inc|Ltd|Co|Corp|Jr|Sr|No)\.$")
"""These end a sentence too, where the next word is a capital one."""

_SCRIPTS = (
    (re.compile(f"[{_KANA}]"), "ja"),
    (re.compile(f"[{_HANGUL}]"), "ko"),
    (re.compile(f"[{_HAN}]"), "cmn"),
    (re.compile(r"[\u0400-\u04ff]"), "ru"),
    (re.compile(r"[\u0370-\u03ff]"), "el"),
    (re.compile(r"[\u0600-\u06ff]"), "ar"),
    (re.compile(r"[\u0900-\u097f]"), "hi"),
)
_WIDE_CHARS = re.compile(f"[{_KANA}{_HANGUL}{_HAN}]")
_RUN = re.compile(f"([{_LATIN}])|([{_KANA}{_HANGUL}{_HAN}])")


def voice_of_script(text: str) -> str | None:
    """The voice that the script of a text asks for, or None for Latin text.

    Kana comes before Han, because Japanese is written with both; Han among Latin words is still Mandarin.
    """
    for pattern, voice in _SCRIPTS:
        if pattern.search(text):
            return voice
    return None


def runs(text: str) -> list[tuple[str, bool | None]]:
    """A text cut where Latin letters and East Asian ones meet: (run, whether it is Latin).

    Signs and digits stay with what is before them, those at the beginning with what comes after; None for a
    text without letters of the two.
    """
    starts: list[tuple[int, bool]] = []
    for match in _RUN.finditer(text):
        latin = match[1] is not None
        if not starts or starts[-1][1] != latin:
            starts.append((match.start() if starts else 0, latin))
    if not starts:
        return [(text, None)]
    ends = [start for start, _ in starts[1:]] + [len(text)]
    return [(text[start:end], latin) for (start, latin), end in zip(starts, ends, strict=True)]


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
    ends = [match.end() for match in _SENTENCE_END.finditer(text) if _is_end(text, match)]
    return [text[start:stop] for start, stop in pairwise([0, *ends, len(text)])]


def _is_end(text: str, match: re.Match[str]) -> bool:
    """Whether a sentence ends here, and not an abbreviation, or a quotation in the middle of a sentence."""
    rest = text[match.end() :].lstrip(" ")
    if match[0] == ".":
        before = text[max(0, match.start() - 12) : match.end()]
        if _WEAK_ABBREVIATION.search(before):
            return rest[:1].isupper() or not rest.strip() or rest[0] == "\n"
        return not _ABBREVIATION.search(before)
    # “Really?” she asked.
    return match[0][-1] not in "”’\"'" or not rest[:1].islower()


def _length(text: str) -> int:
    """How long it takes to say, in Latin letters."""
    return len(text) + (_WIDE - 1) * len(_WIDE_CHARS.findall(text))


def _fit(sentence: str, limit: int) -> list[str]:
    parts: list[str] = []
    while _length(sentence) > limit:
        cut = _cut(sentence, _reach(sentence, limit))
        parts.append(sentence[:cut].strip())
        sentence, limit = sentence[cut:].strip(), PIECE_CHARS
    return [*parts, sentence]


def _reach(sentence: str, limit: int) -> int:
    """How many characters of a sentence fit into the limit."""
    spent = 0
    for number, char in enumerate(sentence):
        spent += _WIDE if _WIDE_CHARS.match(char) else 1
        if spent > limit:
            return number
    return len(sentence)


def _cut(sentence: str, reach: int) -> int:
    """The last place in reach where a speaker would breathe; else between words; else anywhere."""
    ends = [m.end() for m in _PAUSE.finditer(sentence, 0, reach) if m.end() > reach // 4]
    if ends:
        return ends[-1]
    space = sentence.rfind(" ", reach // 4, reach)
    return space + 1 if space > 0 else reach
