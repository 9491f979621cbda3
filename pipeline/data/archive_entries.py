"""The entries of an archive: each is checked before anything of it is written, and all are counted."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from pathlib import Path
from typing import IO, NoReturn

from ..errors import DataError

# A dataset of pictures shrinks little: they are compressed already. Label files shrink up to 20 times, drawn masks up
# to a few hundred times, so a factor counts only from a size on that could fill a disk.
LARGEST_FACTOR = 200
SMALL = 4 * 1024**3  # bytes that may be unpacked whatever the factor
FREE_SHARE = 0.9  # of the free disk space; what runs beside it needs some as well
MOST_ENTRIES = 5_000_000  # Objects365, the largest set of boxes in common use, has 2 million pictures, each with labels
_PIECE = 1 << 20

_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # names that Windows keeps
_NOT_ON_WINDOWS = set('<>:"|?*') if os.name == "nt" else set()
_JUNK = frozenset({"__MACOSX", ".DS_Store"})


class EntryWriter:
    """Checks each entry, counts what was unpacked, and writes.

    Args:
        archive: for messages, and for its size.
        folder: an empty folder.
    """

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive = archive
        self.folder = folder
        self.files = 0
        self._bytes = 0
        self._entries = 0
        self._packed = max(archive.stat().st_size, 1)
        self._free = int(shutil.disk_usage(folder).free * FREE_SHARE)
        self._taken: dict[str, tuple[str, bool]] = {}  # name without case: as written, and whether it is a folder

    def admit(self, name: str, size: int, *, is_folder: bool) -> str | None:
        """Check an entry and count its size.

        Args:
            name: as it stands in the archive.
            size: bytes unpacked, as stated.
            is_folder: whether it is a folder.

        Returns where it goes below the folder, with forward slashes, or None if it is left out (what macOS adds).
        """
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            raise DataError(f"{self.archive}: holds more than {MOST_ENTRIES:,} entries; unpack it by hand")
        parts = self._parts(name)
        if not parts or set(parts) & _JUNK or parts[-1].startswith("._"):
            return None
        self._count(size)
        for depth in range(1, len(parts)):
            self._claim("/".join(parts[:depth]), True)
        self._claim("/".join(parts), is_folder)
        return "/".join(parts)

    def write(self, place: str, content: IO[bytes], size: int) -> None:
        """Write a file of a stated size; a content that is shorter or longer is damage."""
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with target.open("xb") as file:
            while piece := content.read(_PIECE):
                written += len(piece)
                if written > size:
                    break
                file.write(piece)
        if written != size:
            more = "more" if written > size else "fewer"
            raise DataError(f"{self.archive}: damaged or cut off ({place} has {more} bytes than stated)")
        self.files += 1

    def make_folder(self, place: str) -> None:
        """Make a folder."""
        (self.folder / place).mkdir(parents=True, exist_ok=True)

    def refuse(self, name: str, what: str) -> NoReturn:
        """Refuse the archive for an entry."""
        raise DataError(f"{self.archive}: '{ascii(name)[1:-1]}' {what}")

    def _parts(self, name: str) -> list[str]:
        """Return the parts of a name; programs on Windows write backslashes between them."""
        plain = name.replace("\\", "/")
        if plain.startswith("/") or re.match("[A-Za-z]:", plain):
            self.refuse(name, "is an absolute name; pack the archive from inside the folder")
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        for part in parts:
            if part == "..":
                self.refuse(name, "leads out of the folder that it is unpacked into")
            if _DEVICES.fullmatch(part) or part != part.rstrip(". ") or set(part) & _NOT_ON_WINDOWS:
                self.refuse(name, "has a name that Windows cannot have; rename it and pack again")
            if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in part):
                self.refuse(name, "has control characters in its name; rename it and pack again")
        return parts

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._free:
            raise DataError(
                f"{self.archive}: needs more than {self._bytes / 1024**3:.1f} GiB unpacked, and "
                f"{self._free / 1024**3:.1f} GiB can be had on that disk; make room or unpack elsewhere"
            )
        if self._bytes > SMALL and self._bytes > LARGEST_FACTOR * self._packed:
            raise DataError(
                f"{self.archive}: becomes more than {LARGEST_FACTOR} times as large unpacked, as no set of pictures "
                "does; unpack it by hand if you trust it"
            )

    def _claim(self, place: str, is_folder: bool) -> None:
        """Take a name; a folder may be met many times, a file once."""
        key = unicodedata.normalize("NFC", place).casefold()
        is_new = key not in self._taken
        known = self._taken.setdefault(key, (place, is_folder))
        if is_new or known == (place, True) == (place, is_folder):
            return
        what = "stands in it twice" if known[0] == place else f"and '{known[0]}' are one name where case does not count"
        self.refuse(place, f"{what}; rename one and pack again")
