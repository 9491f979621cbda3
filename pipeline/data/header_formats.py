"""What the headers of picture files say, without decoding a pixel: JPEG, PNG, BMP, WebP, GIF (TIFF: `tiff_header`).

A parser answers for what OpenCV will do with the file, because OpenCV decodes it later: which EXIF data counts, which
kinds are not decoded, and that a file which ends early is not decoded at all.
"""

from __future__ import annotations

import struct
import zlib

from .header_content import Content, Header, cut_off, undecodable, unpack
from .tiff_header import exif_orientation

# ---- JPEG (ITU-T T.81, annex B) ------------------------------------------------------------------------------------

_TAIL = 64 * 1024  # bytes in which the end of a JPEG is looked for first
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_FRAMES = frozenset(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC})
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # not lossless, not hierarchical: libjpeg knows no others
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN, _APP1 = 0xDA, 0xE1


def jpeg(content: Content) -> Header:
    """Read a JPEG up to its pixels, and look for the end of the picture; bytes behind it are of no importance."""
    offset, frame, orientation = 2, b"", 0
    while True:
        kind, offset, length = _segment(content, offset)
        if kind == _START_OF_SCAN:
            break
        if kind in _FRAMES:
            frame = bytes([kind]) + content.at(offset + 4, 6)
        elif kind == _APP1 and not orientation:
            orientation = _app1_orientation(content, offset + 4, length - 2)
        offset += 2 + length
    header = _jpeg_frame(frame, orientation or 1)
    if content.at(content.size - 2, 2) != _END_OF_IMAGE and not _ends_later(content, offset):
        raise cut_off("its end-of-image marker is missing", header)
    return header


def _segment(content: Content, offset: int) -> tuple[int, int, int]:
    """Return marker, place and length of the next segment."""
    while True:
        marker, length = unpack(">HH", content, offset)
        kind = marker & 0xFF
        if marker < 0xFF00:  # libjpeg goes on to the next marker
            offset = content.find(b"\xff", offset)
            if offset < 0:
                raise cut_off("it ends within its header")
        elif kind == 0xFF or kind in _ALONE:
            offset += 1 if kind == 0xFF else 2
        elif marker == 0xFFD9 or length < 2:
            raise undecodable("a JPEG without a picture in it")
        else:
            return kind, offset, length


def _app1_orientation(content: Content, offset: int, length: int) -> int:
    """Return the orientation of an EXIF segment; 0 where it states none: then the next one counts."""
    if content.at(offset, 6) != b"Exif\0\0":
        return 0
    return exif_orientation(content.at(offset + 6, length - 6))


def _ends_later(content: Content, scan: int) -> bool:
    """Whether the end-of-image marker stands behind the start of the pixels: near the end of the file, or anywhere."""
    start = max(scan, content.size - _TAIL)
    # Phones hang a film of some megabytes onto a picture: then the marker is further away.
    return content.find(_END_OF_IMAGE, start) >= 0 or content.find(_END_OF_IMAGE, scan) >= 0


def _jpeg_frame(frame: bytes, orientation: int) -> Header:
    if len(frame) < 7:
        raise undecodable("a JPEG without a picture in it")
    kind, bits, height, width, channels = struct.unpack(">BBHHB", frame)
    header = Header(width, height, _JPEG_MODES.get(channels, "?"), bits, orientation)
    if kind not in _DECODED_FRAMES or bits != 8 or channels not in _JPEG_MODES:
        what = "lossless or hierarchical" if kind not in _DECODED_FRAMES else f"{channels} channels of {bits} bits"
        raise undecodable(f"a JPEG of a kind that OpenCV does not decode ({what})", header)
    return header


# ---- PNG (W3C, third edition) --------------------------------------------------------------------------------------

_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def png(content: Content) -> Header:
    """Walk a PNG from chunk to chunk up to its end; EXIF data may stand before or behind the pixels."""
    header = _png_header(content)
    offset, orientation, pages = 33, None, 1
    while True:
        chunk = content.at(offset, 8)
        if len(chunk) < 8:
            raise cut_off("its last chunk, IEND, is missing", header)
        length, kind = struct.unpack(">I4s", chunk)
        missing = offset + 12 + length - content.size
        if missing > 0:
            raise cut_off(f"its chunk {kind.decode('latin-1')!r} lacks {missing:,} bytes", header)
        if kind == b"IEND":
            break
        if kind == b"eXIf" and orientation is None:
            orientation = _chunk_orientation(content.at(offset + 4, length + 8))
        elif kind == b"acTL" and length == 8:
            pages = max(1, *unpack(">I", content, offset + 8))
        offset += 12 + length
    return Header(header.width, header.height, header.mode, header.bits, orientation or 1, min(pages, 0xFFFF))


def _chunk_orientation(chunk: bytes) -> int:
    """Return the orientation of a chunk: its kind, its data, their checksum; libpng passes over one that is damaged."""
    sound = zlib.crc32(chunk[:-4]) == int.from_bytes(chunk[-4:], "big") and chunk[4:6] in (b"II", b"MM")
    return exif_orientation(chunk[4:-4]) if sound else 0


def _png_header(content: Content) -> Header:
    length, kind, width, height, bits, colour = unpack(">I4sIIBB", content, 8)
    if (length, kind) != (13, b"IHDR"):
        raise undecodable("a PNG that does not begin with the chunk IHDR, such as Xcode makes")
    mode = _PNG_MODES.get(colour, "?")
    if colour == 0 and bits in (1, 16):
        mode = "1" if bits == 1 else "I;16"
    header = Header(width, height, mode, bits)
    if bits not in _PNG_BITS.get(colour, ()):
        raise undecodable(f"a PNG of an unknown kind (colour type {colour}, {bits} bits)", header)
    return header


# ---- BMP (Windows and OS/2 bitmaps) --------------------------------------------------------------------------------

_BMP_BITS = {1: 1, 4: 4, 8: 8, 16: 5, 24: 8, 32: 8}  # bits of a pixel, bits of a channel
_CORE = 12  # bytes of the oldest kind of header


def bmp(content: Content) -> Header:
    """Read a BMP's header; the length of uncompressed pixels follows from it, the one that it states is often wrong."""
    start, size = unpack("<II", content, 10)
    compression = 0
    if size == _CORE:
        width, height, _, depth = unpack("<HHHH", content, 18)
    else:
        width, height, _, depth, compression = unpack("<iiHHI", content, 18)
    if depth not in _BMP_BITS or width < 0:
        raise undecodable(f"a BMP of an unknown kind ({depth} bits)")
    mode = "RGB"
    if depth <= 8:
        entry = 3 if size == _CORE else 4
        palette = content.at(14 + size, max(start - 14 - size, 0))[: entry << depth]
        grey = palette[0::entry] == palette[1::entry] == palette[2::entry]
        mode = ("1" if depth == 1 else "L") if grey and palette else "P"
    header = Header(width, abs(height), mode, _BMP_BITS[depth])
    missing = start + (width * depth + 31) // 32 * 4 * abs(height) - content.size
    if compression in (0, 3, 6) and missing > 0:
        raise cut_off(f"it lacks {missing:,} bytes of its pixels", header)
    return header


# ---- WebP (RFC 9649) -----------------------------------------------------------------------------------------------


def webp(content: Content) -> Header:
    """Walk a WebP from chunk to chunk; what stands behind the length that it states is of no importance."""
    end = 8 + unpack("<I", content, 4)[0]
    if content.size < 30:
        raise cut_off("it ends within its header")
    frame, orientation, pages, offset = _webp_frame(content), None, 0, 12
    # A chunk counts where the header announces it (0x08); OpenCV turns neither the pictures of a film (0x02) nor those
    # in whose header a reserved bit is set (0xC1).
    has_exif = content.at(12, 4) == b"VP8X" and content.at(20, 1)[0] & 0xCB == 0x08
    while offset + 8 <= min(end, content.size):
        kind, length = unpack("<4sI", content, offset)
        if kind == b"EXIF" and has_exif and orientation is None and offset + 8 + length <= end:
            orientation = exif_orientation(content.at(offset + 8, length).removeprefix(b"Exif\0\0"))
        pages += kind == b"ANMF"
        offset += 8 + length + length % 2
    header = Header(frame.width, frame.height, frame.mode, 8, orientation or 1, min(max(pages, 1), 0xFFFF))
    if end > content.size:
        raise cut_off(f"it lacks {end - content.size:,} bytes", header)
    return header


def _webp_frame(content: Content) -> Header:
    kind = content.at(12, 4)
    if kind == b"VP8X":
        flags, *sizes = unpack("<B3xHBHB", content, 20)
        width, height = (low + (high << 16) + 1 for low, high in (sizes[:2], sizes[2:]))
        return Header(width, height, "RGBA" if flags & 0x10 else "RGB", 8)
    if kind == b"VP8L":
        signature, packed = unpack("<BI", content, 20)
        if signature == 0x2F:
            mode = "RGBA" if packed >> 28 & 1 else "RGB"
            return Header((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, mode, 8)
    elif kind == b"VP8 ":
        width, height = unpack("<HH", content, 26)
        if content.at(23, 3) == b"\x9d\x01\x2a":
            return Header(width & 0x3FFF, height & 0x3FFF, "RGB", 8)
    raise undecodable("a WebP without a picture in it")


# ---- GIF (version 89a) ---------------------------------------------------------------------------------------------

_TRAILER, _EXTENSION, _IMAGE = 0x3B, 0x21, 0x2C


def gif(content: Content) -> Header:
    """Walk a GIF from block to block, counting its pictures."""
    width, height, flags = unpack("<HHB", content, 6)
    offset = 13 + _table_length(flags)
    header = Header(width, height, "P", 8)
    pages = 0
    while (kind := content.at(offset, 1)) != bytes([_TRAILER]):
        if not kind:
            raise cut_off("its last byte, the trailer, is missing", header)
        if kind[0] == _IMAGE:
            pages += 1
            offset += 11 + _table_length(unpack("<B", content, offset + 9)[0])
        elif kind[0] == _EXTENSION:
            offset += 2
        else:
            raise undecodable(f"a damaged GIF (block {kind[0]:#x})", header)
        while count := unpack("<B", content, offset)[0]:
            offset += 1 + count
        offset += 1
    return Header(width, height, "P", 8, 1, min(max(pages, 1), 0xFFFF))


def _table_length(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
