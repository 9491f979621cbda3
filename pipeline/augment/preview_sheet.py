"""A sheet of rows of pictures under their words: boxes, frames, letters and places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ..data.class_colours import colour_of
from ..findings import SEVERITIES, Severity

TILE = 220  # px, both sides
PAGE, INK, MUTED, HAIR = "#f6f7f9", "#1b2430", "#5d6b7c", "#d4dae2"
FRAMES: dict[Severity, str] = {"error": "#d3382e", "warning": "#e0a030", "info": HAIR}
_INKS: dict[Severity, str] = {"error": "#b3261e", "warning": "#8a5700", "info": MUTED}
_WORDS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
_DARK = (16, 16, 16)  # the line around a box; every class's colour is bright against it
_MARGIN, _PAD, _GAP = 18, 12, 6  # px: around the sheet, inside a row, between tiles
_BESIDE = 18  # px between the original and its versions
_HEAD, _TITLE, _TEXT = 24, 17, 15  # px, letters
_LINE = 1.35  # height of a line as a multiple of its letters
_FRAME, _STROKE = 4, 2  # px: around a row that breaks the contract, around a box
_CROWDED = 25  # boxes of one tile above which they have no dark line around the coloured one
_DASH, _BETWEEN = 5, 3  # px of colour and of dark


@dataclass(frozen=True)
class Tile:
    """A picture uint8 `[h, w, 3]`, RGB, and its boxes `[n, 4]` in its px; `pasted` ones get a dashed frame."""

    picture: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float64]
    class_ids: npt.NDArray[np.int64]
    pasted: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Row:
    """One row of the sheet.

    Args:
        name: of the entry.
        setting: how it is set.
        facts: what was measured, in short.
        source: name of the picture file.
        messages: what is wrong, each with its severity; the worst one gives the row its frame.
        tiles: the original first.
        note: stands in the place of tiles that are not there.
    """

    name: str
    setting: str
    facts: str
    source: str
    messages: tuple[tuple[Severity, str], ...]
    tiles: tuple[Tile, ...]
    note: str = ""

    @property
    def severity(self) -> Severity:
        """The worst one of its messages; `info` where there are none."""
        return min((severity for severity, _ in self.messages), key=SEVERITIES.index, default="info")


@dataclass(frozen=True)
class Place:
    """Where a row stands in the sheet: its frame (left, top, right, bottom) and the upper left corner of each tile."""

    frame: tuple[int, int, int, int]
    tiles: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Head:
    """What stands above the rows: a title, lines of text, and the names of the classes by their number."""

    title: str
    lines: tuple[str, ...]
    classes: dict[int, str]


def compose(head: Head, rows: Sequence[Row], columns: int) -> tuple[Image.Image, list[Place]]:
    """Return the sheet and where each row stands in it.

    Args:
        head: above the rows.
        rows: from top to bottom.
        columns: tiles in a full row.
    """
    width = 2 * (_MARGIN + _PAD) + columns * TILE + max(0, columns - 2) * _GAP + _BESIDE
    inner = width - 2 * (_MARGIN + _PAD)
    classes = _legend(head.classes, width - 2 * _MARGIN)
    about = [line for text in head.lines for line in wrap(text, _TEXT, width - 2 * _MARGIN)]
    legend_height = (max((y for *_, y in classes), default=-1) + 1) * _height(_TEXT)
    top = _MARGIN + _height(_HEAD) + len(about) * _height(_TEXT) + legend_height + _height(_TEXT) + _PAD
    texts = [_texts(row, inner) for row in rows]
    heights = [
        2 * _PAD + _height(_TITLE) + len(text) * _height(_TEXT) + TILE + _GAP for text in texts
    ]  # title, facts and messages, tiles
    sheet = Image.new("RGB", (width, top + sum(heights) + len(rows) * _PAD + _MARGIN), PAGE)
    pen = ImageDraw.Draw(sheet)
    _write_head(pen, head.title, about, classes)
    pen.text((_MARGIN + _PAD, top - _height(_TEXT)), "original", font=font(_TEXT), fill=MUTED)
    pen.text((_tile_x(1), top - _height(_TEXT)), "augmented versions", font=font(_TEXT), fill=MUTED)
    places = []
    for row, text, height in zip(rows, texts, heights, strict=True):
        frame = (_MARGIN, top, width - _MARGIN, top + height)
        places.append(_draw_row(sheet, row, text, frame))
        top += height + _PAD
    return sheet, places


def tile_image(tile: Tile) -> Image.Image:
    """Return a tile in its size with the boxes drawn around what they enclose, readable on dark and bright ground."""
    height, width = tile.picture.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    image = Image.fromarray(cv2.resize(tile.picture, size, interpolation=how))
    pen = ImageDraw.Draw(image)
    outermost = _STROKE + 1 if len(tile.boxes) <= _CROWDED else _STROKE
    for box, class_id, pasted in zip(tile.boxes * scale, tile.class_ids, tile.pasted, strict=True):
        left, top = (int(value) for value in np.floor(box[:2]))
        right, bottom = (int(value) for value in np.ceil(box[2:]))
        for out in range(outermost, 0, -1):  # outwards: a small object stays to be seen
            corners = (
                max(left - out, 0),
                max(top - out, 0),
                min(right - 1 + out, size[0] - 1),
                min(bottom - 1 + out, size[1] - 1),
            )
            colour = colour_of(int(class_id)) if out <= _STROKE else _DARK
            _rectangle(pen, corners, colour, dashed=bool(pasted) and out <= _STROKE)
    return image


def _rectangle(
    pen: ImageDraw.ImageDraw, corners: tuple[int, int, int, int], colour: str | tuple[int, int, int], *, dashed: bool
) -> None:
    left, top, right, bottom = corners
    right, bottom = max(left, right), max(top, bottom)
    if not dashed:
        pen.rectangle((left, top, right, bottom), outline=colour)
        return
    pen.rectangle((left, top, right, bottom), outline=_DARK)
    for x in range(left, right + 1, _DASH + _BETWEEN):
        end = min(x + _DASH - 1, right)
        pen.line((x, top, end, top), fill=colour)
        pen.line((x, bottom, end, bottom), fill=colour)
    for y in range(top, bottom + 1, _DASH + _BETWEEN):
        end = min(y + _DASH - 1, bottom)
        pen.line((left, y, left, end), fill=colour)
        pen.line((right, y, right, end), fill=colour)


def _draw_row(
    sheet: Image.Image, row: Row, texts: Sequence[tuple[str, str]], frame: tuple[int, int, int, int]
) -> Place:
    pen = ImageDraw.Draw(sheet)
    thick = _FRAME if row.severity != "info" else 1
    pen.rectangle(frame, outline=FRAMES[row.severity], width=thick, fill="#ffffff")
    left, y = frame[0] + _PAD, frame[1] + _PAD
    pen.text((left, y), row.name, font=font(_TITLE, bold=True), fill=INK)
    after = left + round(font(_TITLE, bold=True).getlength(row.name)) + 12
    room = frame[2] - _PAD - after
    setting = wrap(row.setting, _TITLE, room)[:1]
    pen.text((after, y), "".join(setting), font=font(_TITLE), fill=MUTED)
    after += round(font(_TITLE).getlength("".join(setting))) + 24
    source = shorten(row.source, _TEXT, frame[2] - _PAD - after)
    pen.text((frame[2] - _PAD, y + 2), source, font=font(_TEXT), fill=MUTED, anchor="ra")
    y += _height(_TITLE)
    for text, ink in texts:
        pen.text((left, y), text, font=font(_TEXT), fill=ink)
        y += _height(_TEXT)
    y += _GAP
    places = []
    for number, tile in enumerate(row.tiles):
        image, x = tile_image(tile), _tile_x(number)
        pen.rectangle((x - 1, y - 1, x + image.width, y + image.height), outline=HAIR)  # a white picture has edges
        sheet.paste(image, (x, y))
        places.append((x, y))
    if row.note:
        x = _tile_x(len(row.tiles)) + _PAD
        for number, line in enumerate(wrap(row.note, _TEXT, frame[2] - _PAD - x)):
            at = y + TILE // 2 - _height(_TEXT) + number * _height(_TEXT)
            pen.text((x, at), line, font=font(_TEXT), fill=MUTED)
    return Place(frame, tuple(places))


def _texts(row: Row, width: int) -> list[tuple[str, str]]:
    """Return the lines between title and tiles with their colours."""
    lines = [(line, INK) for line in wrap(row.facts, _TEXT, width)]
    for severity, message in row.messages:
        lines += [(line, _INKS[severity]) for line in wrap(f"{_WORDS[severity]}: {message}", _TEXT, width)]
    return lines


def _write_head(
    pen: ImageDraw.ImageDraw, title: str, about: Sequence[str], classes: Sequence[tuple[int, str, int, int]]
) -> None:
    pen.text((_MARGIN, _MARGIN), title, font=font(_HEAD, bold=True), fill=INK)
    y = _MARGIN + _height(_HEAD)
    for line in about:
        pen.text((_MARGIN, y), line, font=font(_TEXT), fill=MUTED)
        y += _height(_TEXT)
    for class_id, name, x, place in classes:
        at = y + place * _height(_TEXT)
        pen.rectangle((x, at + 3, x + 12, at + 15), fill=colour_of(class_id), outline=_DARK)
        pen.text((x + 19, at), name, font=font(_TEXT), fill=INK)


def _legend(classes: dict[int, str], width: int) -> list[tuple[int, str, int, int]]:
    """Return (class, name, x, line) for each class, as many to a line as fit."""
    placed, x, line = [], _MARGIN, 0
    for class_id, name in classes.items():
        text = shorten(name, _TEXT, width - 40)
        taken = 19 + round(font(_TEXT).getlength(text)) + 22
        if x > _MARGIN and x + taken > _MARGIN + width:
            x, line = _MARGIN, line + 1
        placed.append((class_id, text, x, line))
        x += taken
    return placed


def wrap(text: str, letters: int, width: int) -> list[str]:
    """Return text in lines of at most `width` px; a word that is longer is cut into pieces."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and font(letters).getlength(f"{line} {word}") > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
        while font(letters).getlength(line) > width and len(line) > 1:
            cut = len(shorten(line, letters, width, end=""))
            lines.append(line[: max(1, cut)])
            line = line[max(1, cut) :]
    return [*lines, line] if line else lines


def shorten(text: str, letters: int, width: int, end: str = "…") -> str:
    """Return text that is at most `width` px wide, with `end` where something is left out."""
    if font(letters).getlength(text) <= width:
        return text
    while text and font(letters).getlength(text + end) > width:
        text = text[:-1]
    return text + end if text else ""


def can_be_written(text: str) -> bool:
    """Return whether the font that comes along (DejaVu Sans) has all letters of a text; it has none of East Asia."""
    return all(character == " " or ord(character) in _letters() for character in text)


@lru_cache(maxsize=8)
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font of the sheet."""
    return ImageFont.truetype(str(_font_file("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")), size)


@lru_cache(maxsize=1)
def _letters() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_font_file("DejaVuSans.ttf"))).get_charmap())


def _font_file(name: str) -> Path:
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


def _height(letters: int) -> int:
    return round(letters * _LINE)


def _tile_x(number: int) -> int:
    return _MARGIN + _PAD + number * TILE + (_BESIDE + (number - 1) * _GAP if number else 0)
