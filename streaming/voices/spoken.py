"""What of a text is spoken: marks, emoji and addresses made speakable, numbers put into words."""

import re
import unicodedata

from streaming.voices.spoken_en import spoken_english
from streaming.voices.spoken_zh import spoken_chinese
from streaming.voices.text import voice_of_script

_KEPT_SIGNS = frozenset("°℃℉㎡")
_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^)\s]{0,500}\)")
_FENCE = re.compile(r"```\w*")
_LINE_MARKS = re.compile(r"^[ \t]*(?:#{1,6}|[-*+•]|>+)[ \t]+", re.MULTILINE)
_EMPHASIS = re.compile(r"[*`~]{1,3}(?=\S)|(?<=\S)[*`~]{1,3}(?=\s|[^\w\s]|[\u3000-\u9fff]|$)|\*\*")
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_TOP_LEVEL = "com|org|net|io|ai|dev|cn|tv|me|co|app|edu|gov|info|uk|de|fr|jp"
_ADDRESS = re.compile(
    r"(?:https?://|www\.)[A-Za-z0-9._~:/?#@!$&'()*+;=%-]*[A-Za-z0-9/]"
    rf"|(?<![\w.@-])(?:[A-Za-z0-9-]{{1,63}}\.){{1,8}}(?:{_TOP_LEVEL})(?:/[\w./-]*[\w/])?(?![\w-])",
    re.ASCII,
)
_SIGNS = {
    "en": {".": " dot ", "/": " slash ", "@": " at ", "-": " dash ", "_": " underscore "},
    "zh": {".": "点", "/": "斜杠", "@": "艾特", "-": "杠", "_": "下划线"},
}


def speakable(text: str) -> str:
    """The text without emoji, control characters and Markdown marks, and with addresses to be read aloud.

    Signs inside addresses are named in Chinese where the text is, else in English. Line breaks stay.
    """
    text = "".join(map(_sign, unicodedata.normalize("NFC", text)))
    text = _FENCE.sub(" ", _IMAGE_OR_LINK.sub(r"\1", text))
    # Addresses first: their signs are no marks.
    names = _SIGNS["zh" if voice_of_script(text) == "cmn" else "en"]
    text = _ADDRESS.sub(lambda m: _read(_bare(m[0]), names), _MAIL.sub(lambda m: _read(m[0], names), text))
    text = _EMPHASIS.sub("", _LINE_MARKS.sub("", text))
    return re.sub(r"[ \t]{2,}", " ", text)


def in_words(text: str, language: str) -> str:
    """Numbers, dates, money and units in words, where `language` (BCP 47) is English or Chinese."""
    if is_chinese(language):
        return spoken_chinese(text)
    return spoken_english(text) if language.lower().partition("-")[0] == "en" else text


def is_chinese(language: str) -> bool:
    """Whether a BCP 47 tag or a voice of espeak-ng is Chinese of any kind."""
    return language.lower().partition("-")[0] in ("zh", "cmn", "yue")


def _sign(char: str) -> str:
    kind = unicodedata.category(char)
    if char == "\n" or char in _KEPT_SIGNS:
        return char
    # Emoji are "other symbols"; what joins and colours them (Cf, Me, Mn from U+FE00 on, Sk) goes with them.
    if kind == "Cf" or kind == "Me" or "\ufe00" <= char <= "\ufe0f" or "\U0001f3fb" <= char <= "\U0001f3ff":
        return ""
    return " " if kind in ("So", "Cc", "Cs", "Co", "Zl", "Zp") else char


def _bare(address: str) -> str:
    """What people say of an address: host and path, not the scheme, "www" or what is asked of it."""
    return re.sub(r"^(?:https?://)?(?:www\.)?", "", re.split(r"[?#]", address)[0]).rstrip("/")


def _read(address: str, names: dict[str, str]) -> str:
    return re.sub(r"[./@_-]", lambda m: names[m[0]], address)
