"""The directory of a TIFF file (TIFF 6.0, and BigTIFF), which EXIF data has as well."""

from __future__ import annotations

import struct

import numpy as np

from .header_content import Content, Header, Unusable, cut_off, undecodable, unpack

_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}  # field types that hold whole numbers
_SIZES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 16: 8, 17: 8}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_LENGTHS, _PLANAR = 273, 274, 277, 279, 284
_TILES, _TILE_LENGTHS, _FORMAT = 324, 325, 339
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_NOT_BUILT_IN = {  # compressions
    34661: "JBIG",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
}
_MOST_PAGES = _MOST_ENTRIES = 0xFFFF
_MOST_VALUES = 1 << 24  # of a field; beyond it the file is damaged


def exif_orientation(exif: bytes) -> int:
    """Return the orientation that OpenCV takes from EXIF data, 1 to 8; 0 where it states none.

    OpenCV goes through the first directory and stops at the first entry whose text or fraction lies outside of the
    data; the orientation is the two bytes of the value, whatever type it has.
    """
    order = "<" if exif.startswith(b"II") else ">"
    if len(exif) < 10 or struct.unpack_from(order + "H", exif, 2)[0] != 42:
        return 0
    offset = struct.unpack_from(order + "I", exif, 4)[0]
    count = struct.unpack_from(order + "H", exif, offset)[0] if offset + 2 <= len(exif) else 0
    for entry in range(offset + 2, min(offset + 2 + 12 * count, len(exif) - 11), 12):
        tag, _, length, where = struct.unpack_from(order + "HHII", exif, entry)
        if tag == _ORIENTATION:
            value = struct.unpack_from(order + "H", exif, entry + 8)[0]
            return value if 1 <= value <= 8 else 1
        if tag in _EXIF_TEXTS:
            needed = where + length if length > 4 else 0
        else:
            needed = where + 8 * _EXIF_FRACTIONS[tag] if tag in _EXIF_FRACTIONS else 0
        if needed > len(exif):
            return 0
    return 0


_EXIF_TEXTS = frozenset({0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x8298})  # description, make, model, software, ...
_EXIF_FRACTIONS = {0x011A: 1, 0x011B: 1, 0x013E: 2, 0x013F: 6, 0x0211: 3, 0x0214: 6}  # number of fractions


class _Directory:
    """Entries of one directory; values are read when they are asked for."""

    def __init__(self, content: Content, order: str, offset: int, big: bool) -> None:
        self._content, self._order = content, order
        count_layout, entry_layout, place = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
        self._place = order + place
        (count,) = unpack(order + count_layout, content, offset)
        size, start = struct.calcsize(order + entry_layout), offset + struct.calcsize(count_layout)
        raw = content.at(start, count * size + struct.calcsize(place)) if count <= _MOST_ENTRIES else b""
        if not count or len(raw) < count * size:
            raise cut_off("its directory lies behind the end of the file")
        rows = list(struct.iter_unpack(order + entry_layout, raw[: count * size]))
        # Of a tag that stands there twice, libtiff takes the first.
        self._entries = {tag: (kind, number, value) for tag, kind, number, value in reversed(rows)}
        rest = raw[count * size :]
        self.next = int(struct.unpack(self._place, rest)[0]) if len(rest) == struct.calcsize(place) else 0

    def values(self, tag: int, default: int | None = None) -> list[int]:
        """Return the whole numbers of a field; those that the file does not hold are left out."""
        kind, number, inline = self._entries.get(tag, (0, 0, b""))
        if kind not in _TYPES or not 0 < number <= _MOST_VALUES:
            return [] if default is None else [default]
        length = number * _SIZES[kind]
        raw = inline[:length]
        if length > len(inline):
            raw = self._content.at(struct.unpack(self._place, inline)[0], length)
        whole = raw[: len(raw) // _SIZES[kind] * _SIZES[kind]]
        found = np.frombuffer(whole, self._order + _TYPES[kind]).tolist() if whole else []
        return [max(int(value), 0) for value in found] or ([] if default is None else [default])

    def value(self, tag: int, default: int) -> int:
        """Return the first number of a field."""
        return self.values(tag, default)[0]


def tiff(content: Content) -> Header:
    """Read the first directory of a TIFF, and count the others."""
    order = "<" if content.head[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", content.head, 2)[0] == 43
    start = struct.unpack_from(order + ("8xQ" if big else "4xI"), content.head.ljust(16, b"\0"))[0]
    first = _Directory(content, order, start, big)
    width, height = first.value(_WIDTH, 0), first.value(_HEIGHT, 0)
    bits, samples = first.values(_BITS, 1), first.value(_SAMPLES, 1)
    photometric, kind = first.value(_PHOTOMETRIC, 1), first.value(_FORMAT, _UNSIGNED)
    orientation = first.value(_ORIENTATION, 1)
    header = Header(
        width,
        height,
        _mode(photometric, samples, bits[0], kind),
        min(bits[0], 0xFF),
        orientation if 1 <= orientation <= 8 else 1,
        _pages(content, first, order, big, start),
    )
    compression = first.value(_COMPRESSION, 1)
    if compression in _NOT_BUILT_IN:
        raise undecodable(f"a TIFF compressed by {_NOT_BUILT_IN[compression]}, which OpenCV does not read", header)
    if not _is_decoded(photometric, samples, bits, kind, first.value(_PLANAR, 1)):
        sort = {_SIGNED: "signed ", _FLOAT: "floating point "}.get(kind, "")
        raise undecodable(
            f"a TIFF of a kind that OpenCV does not decode in full ({samples} channels of {bits[0]} {sort}bits, "
            f"photometric {photometric})",
            header,
        )
    offsets, lengths = first.values(_STRIPS) + first.values(_TILES), first.values(_STRIP_LENGTHS)
    lengths += first.values(_TILE_LENGTHS)
    if compression == 1:  # some programs state too much for the last part
        whole = (width * bits[0] * samples + 7) // 8 * height
        lengths = [min(length, whole) for length in lengths]
    end = max((offset + length for offset, length in zip(offsets, lengths, strict=False)), default=0)
    if not offsets or end > content.size:
        raise cut_off(f"it lacks {end - content.size:,} bytes of its pixels" if offsets else "it has no pixels", header)
    return header


def _pages(content: Content, first: _Directory, order: str, big: bool, start: int) -> int:
    """Return the number of directories; a chain that is cut off or runs in a circle ends there."""
    seen, following = {start}, first.next
    while following and following not in seen and len(seen) < _MOST_PAGES:
        try:
            directory = _Directory(content, order, following, big)
        except Unusable:
            break
        seen.add(following)
        following = directory.next
    return len(seen)


def _mode(photometric: int, samples: int, bits: int, kind: int) -> str:
    """Return Pillow's word for a TIFF's pixels."""
    if photometric in (0, 1):
        if samples > 1:
            return "LA"
        if kind == _FLOAT or bits > 16:
            return "F" if kind == _FLOAT else "I"
        return "1" if bits == 1 else "L" if bits <= 8 else "I;16S" if kind == _SIGNED else "I;16"
    plain = {2: "RGB", 3: "P", 5: "CMYK", 6: "YCbCr", 8: "LAB"}.get(photometric, "?")
    return "RGBA" if plain == "RGB" and samples > 3 else plain


_CHANNELS_OF_8_BITS = {0: (1, 2, 3, 4), 1: (1, 2, 3, 4), 2: (3, 4), 3: (1,), 5: (4,), 6: (3,), 8: (3,)}


def _is_decoded(photometric: int, samples: int, bits: list[int], kind: int, planar: int) -> bool:
    """Whether OpenCV 5.0 decodes it in its own depth: tried out for each combination (`test_picture_headers`)."""
    depth = bits[0]
    if len(set(bits)) > 1:
        return False
    if depth == 8:
        apart = photometric in (6, 8) and planar == 2
        return kind == _UNSIGNED and samples in _CHANNELS_OF_8_BITS.get(photometric, ()) and not apart
    if depth < 8:
        return samples == 1 and (depth, photometric) in {(1, 0), (1, 1), (1, 3), (4, 3)}
    if photometric not in (0, 1, 2):
        return False
    if depth in (10, 12, 14):
        return kind == _UNSIGNED and samples in (1, 3, 4)
    if depth == 16:
        return kind in (_UNSIGNED, _SIGNED) and samples in (1, 3, 4)
    return depth in (32, 64) and kind in (_UNSIGNED, _SIGNED, _FLOAT) and samples in (1, 3)
