"""Archives with datasets, unpacked without trust: zip, and tar as it is or compressed by gzip, bzip2 or xz.

What kind an archive is, its first bytes tell, never its name. Every entry is checked before anything of it is written:
its place lies below the folder, it is a plain file or a folder, and it collides with no other. When something is wrong,
nothing is left behind. Archives inside an archive stay closed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import DataError, UsageError
from .archive_entries import EntryWriter

LONGEST_HEADER = 1 << 20  # bytes of a tar header with long names; tarfile would read what it states into memory
LONGEST_FILL = 1 << 26  # bytes behind a tar file's end; tar fills its last 10 KB, or as much as a tape's block
_PIECE = 1 << 20
_LEVELS = 8  # of single folders in one another that are descended

_MAGIC = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # empty
    b"PK\x07\x08": "zip",  # in parts
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_UNREAD = frozenset({"7z", "rar", "zstd"})
_MEANS_SOMETHING = re.compile(r"train|val|valid|test|images?|labels?|annotations?|jpegimages", re.IGNORECASE)


def is_archive(path: Path) -> bool:
    """Whether the first bytes of a file are those of an archive, also of a kind that is not read."""
    return _kind(path) is not None


def _kind(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return None
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if len(head) == 512 and (head[257:262] == b"ustar" or _sum_fits(head)):
        return "tar"
    return None


def _sum_fits(head: bytes) -> bool:
    """Whether a block is the header of an old tar file, which has no magic: its sum is written in it in octal."""
    stated = head[148:156].strip(b"\0 ")
    if not re.fullmatch(rb"[0-7]{1,7}", stated):
        return False
    return int(stated, 8) == sum(head[:148]) + 8 * ord(" ") + sum(head[156:])


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive into a folder, which is made if it is not there.

    Returns the folder that holds the dataset: single folders in one another are descended.

    Raises:
        UsageError: the folder is a file or not empty.
        DataError: the archive is of a kind that is not read, damaged, cut off, protected by a password, too large, or
            holds a link, a device, a name that leads out of the folder or two names that collide; nothing is left then.
    """
    kind = _kind(archive)
    if kind is None or kind in _UNREAD:
        what = "no archive that is known" if kind is None else f"a {kind} archive, which is not read"
        raise DataError(f"{archive}: {what}; pack it as zip or tar, or unpack it by hand")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder}: not empty; choose another folder or remove it")
    made = _make(folder)
    try:
        with _named(archive):
            writer = EntryWriter(archive, folder)
            _unpack_zip(archive, writer) if kind == "zip" else _unpack_tar(archive, kind, writer)
            if not writer.files:
                raise DataError(f"{archive}: the archive holds no files")
    except BaseException:
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        for parent in made:
            parent.rmdir()
        raise
    return _descended(folder)


def _make(folder: Path) -> list[Path]:
    """Make the folder with those above it; return what was made, the innermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made ({error.strerror or error})") from error
    return missing


@contextmanager
def _named(archive: Path) -> Iterator[None]:
    """Turn what the readers of archives raise into one kind of error that names the archive."""
    try:
        yield
    except NotImplementedError as error:
        raise DataError(
            f"{archive}: packed in a way that is not read ({error}); pack it again as zip or tar"
        ) from error
    except OSError as error:
        if error.errno is None:  # gzip's own
            raise DataError(f"{archive}: damaged or cut off ({error}); fetch or pack it again") from error
        raise DataError(f"{archive}: cannot be unpacked ({error.strerror or error})") from error
    except (
        *(tarfile.TarError, zipfile.BadZipFile, zipfile.LargeZipFile, lzma.LZMAError, zlib.error, EOFError),
        *(ValueError, OverflowError, struct.error, RuntimeError, LookupError),
    ) as error:
        raise DataError(f"{archive}: damaged or cut off ({error}); fetch or pack it again") from error


# ---- zip ------------------------------------------------------------------------------------------------------------


def _unpack_zip(archive: Path, writer: EntryWriter) -> None:
    with zipfile.ZipFile(archive) as packed:
        places = [(entry, _admit_zip(entry, writer)) for entry in packed.infolist()]
        for entry, place in places:
            if place is None:
                continue
            if entry.is_dir() or entry.filename.endswith("\\"):
                writer.make_folder(place)
            else:
                with packed.open(entry) as content:
                    writer.write(place, content, entry.file_size)


def _admit_zip(entry: zipfile.ZipInfo, writer: EntryWriter) -> str | None:
    name = _zip_name(entry)
    if entry.flag_bits & 0x1:  # APPNOTE 4.4.4: encrypted
        writer.refuse(name, "is protected by a password; unpack the archive by hand")
    mode = entry.external_attr >> 16  # of Unix, where the archive was made there
    if entry.create_system == 3 and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        writer.refuse(name, "is a link or a device; pack the files themselves (zip without --symlinks)")
    return writer.admit(name, entry.file_size, is_folder=entry.is_dir() or name.endswith("\\"))


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """Return the name as it was meant; without the flag for UTF-8 it should be code page 437, but often is UTF-8."""
    if entry.flag_bits & 0x800:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


# ---- tar ------------------------------------------------------------------------------------------------------------

_OPENERS: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "tar": open}


class _Guarded:
    """A stream that gives tarfile no more for a header than a header can need, and remembers the last block.

    Args:
        stream: of the bytes of the tar file, unpacked.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.last = b""
        self.left: float = LONGEST_HEADER

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise tarfile.ReadError(f"a header is longer than {LONGEST_HEADER} bytes")
        self.left -= size
        self.last = self._stream.read(size)
        return self.last

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, position: int) -> int:
        return self._stream.seek(position)


def _unpack_tar(archive: Path, kind: str, writer: EntryWriter) -> None:
    with _OPENERS[kind](archive, "rb") as stream:
        guarded = _Guarded(stream)
        try:
            packed = tarfile.open(fileobj=guarded, mode="r:", encoding="utf-8", errors="surrogateescape")  # type: ignore[call-overload]
        except tarfile.ReadError as error:
            raise DataError(f"{archive}: damaged, or no tar archive in it ({error}); pack it as zip or tar") from error
        with packed:
            while (entry := packed.next()) is not None:
                guarded.left = math.inf
                _unpack_entry(packed, entry, writer)
                guarded.left = LONGEST_HEADER
        # tarfile takes a damaged header, and the end of a file that was cut, for the end of the archive.
        if guarded.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("the mark at its end is missing")
        _read_to_the_end(stream)


def _unpack_entry(packed: tarfile.TarFile, entry: tarfile.TarInfo, writer: EntryWriter) -> None:
    name = entry.name
    if not name.isascii() and any("\ud800" <= sign <= "\udfff" for sign in name):  # bytes that are not UTF-8
        name = name.encode("utf-8", "surrogateescape").decode("latin-1")
    if not entry.isreg() and not entry.isdir():
        writer.refuse(name, "is a link or a device; pack the files themselves (tar --dereference --hard-dereference)")
    if entry.size < 0:
        raise tarfile.ReadError(f"a size of {entry.size} bytes")
    place = writer.admit(name, entry.size if entry.isreg() else 0, is_folder=entry.isdir())
    if place is None:
        return
    content = packed.extractfile(entry) if entry.isreg() else None
    if content is None:
        writer.make_folder(place)
    else:
        with content:
            writer.write(place, content, entry.size)


def _read_to_the_end(stream: IO[bytes]) -> None:
    """Read what fills the last block: behind it stands the check sum of the compression."""
    rest = 0
    while piece := stream.read(_PIECE):
        rest += len(piece)
        if rest > LONGEST_FILL:
            raise tarfile.ReadError(f"more than {LONGEST_FILL} bytes follow its end")


def _descended(folder: Path) -> Path:
    """Return the innermost of folders that hold nothing but one other folder, unless that one's name says something."""
    for _ in range(_LEVELS):
        entries = list(folder.iterdir())
        if len(entries) != 1 or not entries[0].is_dir() or _MEANS_SOMETHING.fullmatch(entries[0].name):
            break
        folder = entries[0]
    return folder
