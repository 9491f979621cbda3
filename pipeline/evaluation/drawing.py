"""Boxes and class names drawn into a picture, to be read on bright and on dark ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..data.class_colours import colour_of

_DARK = "#101010"  # text, and the line around a box; every class's colour is bright against it
_SHORT_SIDE = 640  # of the picture, in pixels, at which lines and letters have their plain size
_MOST = 2.0  # times the plain size: in the tiles of a large picture, objects are as small as in a small one
_LINE, _LETTERS = 2, 14  # pixels


@dataclass(frozen=True)
class Label:
    """A box, corners in pixels of the picture, its class and what is written at it."""

    box: tuple[float, float, float, float]
    class_id: int
    text: str


def draw_boxes(picture: NDArray[np.uint8], labels: Sequence[Label]) -> NDArray[np.uint8]:
    """Return a copy of a picture, uint8 [height, width, 3] in BGR order, with boxes; later ones lie on top.

    Lines and letters grow with large pictures, to twice their size. A box has a dark line around the coloured one, its
    text a ground of the class's colour.
    """
    image = Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    pen = ImageDraw.Draw(image)
    scale = min(_MOST, max(1.0, min(image.size) / _SHORT_SIDE))
    line = round(_LINE * scale)
    for label in labels:
        x1, y1, x2, y2 = (round(side) for side in label.box)
        x2, y2 = max(x2, x1), max(y2, y1)
        around = (x1 - 1, y1 - 1, x2 + 1, y2 + 1)
        pen.rectangle(around, outline=_DARK, width=line + 2)
        pen.rectangle((x1, y1, x2, y2), outline=colour_of(label.class_id), width=line)
    font = _font(round(_LETTERS * scale))
    taken: list[tuple[int, int, int, int]] = []
    for label in reversed(labels):  # above all boxes; the last one chooses its place first
        taken.append(_write(pen, label, font, image.size, taken))
    return np.asarray(cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR), np.uint8)


def _write(
    pen: ImageDraw.ImageDraw,
    label: Label,
    font: ImageFont.FreeTypeFont,
    size: tuple[int, int],
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """Write a label above its box, below it, or inside it, where it hides no other label and lies in the picture.

    Returns:
        Where it stands.
    """
    text = readable(label.text, label.class_id)
    _, _, width, height = (round(side) for side in pen.textbbox((0, 0), text, font=font))
    pad = max(2, height // 6)
    width, height = width + 2 * pad, height + 2 * pad
    x = max(0, min(round(label.box[0]), size[0] - width))
    places = []
    for top in (round(label.box[1]) - height, round(label.box[3]) + 1, round(label.box[1])):
        y = max(0, min(top, size[1] - height))
        place = (x, y, x + width, y + height)
        hides = sum(place[0] < t[2] and t[0] < place[2] and place[1] < t[3] and t[1] < place[3] for t in taken)
        places.append((hides, y != top, place))
    _, _, (x, y, right, bottom) = min(places, key=lambda item: item[:2])
    pen.rectangle((x, y, right - 1, bottom - 1), fill=colour_of(label.class_id), outline=_DARK)
    pen.text((x + pad, y + pad), text, font=font, fill=_DARK)
    return x, y, right, bottom


def readable(text: str, class_id: int) -> str:
    """Return a label, or one with the class's number where the font lacks a letter of its name.

    The font that comes along (DejaVu Sans) knows Latin, Greek, Cyrillic and more, but not the scripts of East Asia.
    """
    if all(character in " " or ord(character) in _letters() for character in text):
        return text
    return f"class {class_id} {text.rpartition(' ')[2]}"


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_font_file()), size)


@lru_cache(maxsize=1)
def _letters() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_font_file())).get_charmap())


def _font_file() -> Path:
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
