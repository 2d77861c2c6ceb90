"""Draws the words of the label once, as coverage masks: `python -m engine.picture.draw_marks FONT FACE`.

The shipped masks come from NotoSansCJK-Bold.ttc, face 2 (SIL Open Font License 1.1, see NOTICE); the font
itself is not needed to run Koubo.
"""

import math
import sys
from pathlib import Path

from engine.errors import MissingToolError
from engine.picture.label import MARKS, MASK_HEIGHT, WORDS


def draw(font: Path, face: int = 0, folder: Path = MARKS) -> None:
    """Write one 8-bit grey PNG a language into `folder`: white ink on black, cropped to the ink.

    `font`: a TrueType or OpenType file with Latin and Simplified Chinese; `face`: which of a collection. The
    ideographs, or the Latin letters where there are none, are `MASK_HEIGHT` pixels high. Raises
    MissingToolError without Pillow.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ModuleNotFoundError as error:
        raise MissingToolError("Drawing the label's words needs Pillow; `pip install pillow`.") from error
    for language, words in WORDS.items():
        cut = ImageFont.truetype(str(font), MASK_HEIGHT, index=face)
        _, top, _, bottom = cut.getbbox(words.measured)
        cut = cut.font_variant(size=math.ceil(MASK_HEIGHT**2 / (bottom - top)))
        left, top, right, bottom = (round(value) for value in cut.getbbox(words.text))
        picture = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(picture).text((-left, -top), words.text, fill=255, font=cut)
        picture.crop(picture.getbbox()).save(folder / f"{language}.png", optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), int(sys.argv[2]))
