"""Archives: what comes out, and what never does, on archives made here, hostile ones among them."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import files_below, snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data import archive_entries, archives
from pipeline.data.archives import is_archive, unpack
from pipeline.errors import DataError, UsageError

FILES = {"set/data.yaml": b"names: [pit]\n", "set/images/a b.png": b"\x89PNG" * 300, "set/labels/\u00e9.txt": b""}


def packed_zip(file: Path, files: dict[str, bytes] | None = None, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, content in (FILES if files is None else files).items():
            packed.writestr(name, content)
    return file


def packed_tar(
    file: Path, files: dict[str, bytes] | None = None, mode: str = "w", form: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(file, mode, format=form) as packed:  # type: ignore[call-overload]
        for name, content in (FILES if files is None else files).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return file


MAKERS: dict[str, Callable[..., Path]] = {
    "zip": packed_zip,
    "zip stored": lambda file, files=None: packed_zip(file, files, zipfile.ZIP_STORED),
    "zip lzma": lambda file, files=None: packed_zip(file, files, zipfile.ZIP_LZMA),
    "tar pax": packed_tar,
    "tar gnu": lambda file, files=None: packed_tar(file, files, form=tarfile.GNU_FORMAT),
    "tar ustar": lambda file, files=None: packed_tar(file, files, form=tarfile.USTAR_FORMAT),
    "tar gz": lambda file, files=None: packed_tar(file, files, "w:gz"),
    "tar bz2": lambda file, files=None: packed_tar(file, files, "w:bz2"),
    "tar xz": lambda file, files=None: packed_tar(file, files, "w:xz"),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


def refused(archive: Path, words: str) -> None:
    """Check that an archive is refused, that the message has these words, and that nothing is left of it."""
    folder = archive.parent / "new" / "folder"
    before = snapshot(archive.parent)
    with pytest.raises(DataError) as caught:
        unpack(archive, folder)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(archive))
    after = snapshot(archive.parent)
    assert before.pop(".")[1] == after.pop(".")[1]
    assert after == before
    folder.mkdir(parents=True)
    with pytest.raises(DataError):
        unpack(archive, folder)
    assert list(folder.iterdir()) == []


# ---- sound archives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(MAKERS))
def test_what_was_packed_comes_out_whatever_the_name(tmp_path: Path, kind: str) -> None:
    archive = MAKERS[kind](tmp_path / "download (1)")
    before = archive.read_bytes()
    assert is_archive(archive)
    folder = unpack(archive, tmp_path / "new" / "folder")
    assert folder == tmp_path / "new" / "folder" / "set"
    assert contents(folder.parent) == FILES
    assert archive.read_bytes() == before


@pytest.mark.parametrize(
    ("names", "inner"),
    [
        (["data.yaml", "images/a.png"], ""),
        (["a/b/c/data.yaml"], "a/b/c"),
        (["set/train/a.png"], "set"),
        (["images/a.png"], ""),
        (["set/a.png", "__MACOSX/set/._a.png", "set/.DS_Store", ".DS_Store"], "set"),
        (["./set/./a.png"], "set"),
        (["set\\images\\a.png", "set\\b.png"], "set"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar gnu"])
def test_the_folder_that_holds_the_dataset_is_returned(tmp_path: Path, kind: str, names: list[str], inner: str) -> None:
    archive = MAKERS[kind](tmp_path / "x", {name: b"1" for name in names})
    folder = unpack(archive, tmp_path / "new")
    assert folder == tmp_path / "new" / inner
    assert not any(name.startswith((".", "__")) for name in files_below(folder))


def test_an_empty_folder_is_taken_and_no_other(tmp_path: Path) -> None:
    archive = packed_zip(tmp_path / "x.zip")
    (tmp_path / "empty").mkdir()
    assert unpack(archive, tmp_path / "empty").name == "set"
    for taken in (tmp_path / "empty", archive):
        with pytest.raises(UsageError, match="not empty"):
            unpack(archive, taken)
    assert contents(tmp_path / "empty") == FILES


def test_archives_inside_stay_closed_and_rights_do_not_come_along(tmp_path: Path) -> None:
    inner = packed_zip(tmp_path / "inner.zip").read_bytes()
    entry = zipfile.ZipInfo("run.sh")
    entry.external_attr = 0o104777 << 16  # set-user-id and executable
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr("inner.zip", inner)
        packed.writestr(entry, b"#!/bin/sh")
    folder = unpack(tmp_path / "x.zip", tmp_path / "new")
    assert files_below(folder) == ["inner.zip", "run.sh"]
    assert (folder / "run.sh").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("name", ["\u00e9.txt", "\u5212\u75d5.txt"])
def test_utf_8_names_without_the_flag_are_read(tmp_path: Path, name: str) -> None:
    """Older macOS and many programs write UTF-8 without saying so."""
    content = packed_zip(tmp_path / "x.zip", {name: b"1"}).read_bytes()
    assert content[6:8] == b"\x00\x08"
    at = content.index(b"PK\x01\x02")
    plain = content[:6] + b"\0\0" + content[8 : at + 8] + b"\0\0" + content[at + 10 :]
    (tmp_path / "x.zip").write_bytes(plain)
    assert files_below(unpack(tmp_path / "x.zip", tmp_path / "new")) == [name]


def test_code_page_437_is_read_as_the_format_says(tmp_path: Path) -> None:
    content = packed_zip(tmp_path / "x.zip", {"a?.txt": b"1"}).read_bytes().replace(b"a?.txt", b"a\x82.txt")
    (tmp_path / "x.zip").write_bytes(content)
    assert files_below(unpack(tmp_path / "x.zip", tmp_path / "new")) == ["a\u00e9.txt"]


def test_tar_names_that_are_not_utf_8_are_taken_for_latin_1(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as packed:
        packed.addfile(tarfile.TarInfo("\u00e9.txt"))
    assert files_below(unpack(tmp_path / "x.tar", tmp_path / "new")) == ["\u00e9.txt"]


def test_an_old_tar_without_magic_is_one(tmp_path: Path) -> None:
    content = bytearray(packed_tar(tmp_path / "x", {"a.txt": b"1"}, form=tarfile.USTAR_FORMAT).read_bytes())
    content[257:265] = bytes(8)
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    (tmp_path / "x").write_bytes(content)
    assert files_below(unpack(tmp_path / "x", tmp_path / "new")) == ["a.txt"]


def test_a_long_name_is_fine(tmp_path: Path) -> None:
    name = "/".join(["a" * 100] * 5)
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        archive = packed_tar(tmp_path / f"{form}.tar", {name: b"1", "b": b"2"}, form=form)
        unpack(archive, tmp_path / str(form))
        assert files_below(tmp_path / str(form)) == [name, "b"]


# ---- names that lead elsewhere or collide ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil", "leads out of the folder"),
        ("a/../../evil", "leads out of the folder"),
        ("a/..", "leads out of the folder"),
        ("..\\evil", "leads out of the folder"),
        ("/etc/evil", "is an absolute name"),
        ("\\\\server\\share\\evil", "is an absolute name"),
        ("C:\\evil", "is an absolute name"),
        ("c:evil", "is an absolute name"),
        ("a/nul.txt", "Windows cannot have"),
        ("Com1", "Windows cannot have"),
        ("a./b", "Windows cannot have"),
        ("a ", "Windows cannot have"),
        ("a\nb", "control characters"),
        ("a\x1b[2J", "control characters"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar gnu", "tar gz"])
def test_a_name_that_may_do_harm_refuses_the_archive(tmp_path: Path, kind: str, name: str, words: str) -> None:
    refused(MAKERS[kind](tmp_path / "x", {"good.txt": b"1", name: b"2"}), words)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a.txt", "A.TXT"), "are one name where case does not count"),
        (("dir/a", "DIR/b"), "are one name where case does not count"),
        (("a", "a/b"), "stands in it twice"),
        (("a/b", "a"), "stands in it twice"),
        (("e\u0301.txt", "\u00e9.txt"), "are one name"),
        (("stra\u00dfe", "STRASSE"), "are one name"),
        (("a", "./a"), "stands in it twice"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar pax"])
def test_names_that_collide_refuse_the_archive(tmp_path: Path, kind: str, names: tuple[str, ...], words: str) -> None:
    refused(MAKERS[kind](tmp_path / "x", {name: b"1" for name in names}), words)


def test_a_name_twice_refuses_the_archive(tmp_path: Path) -> None:
    content = packed_zip(tmp_path / "x.zip", {"a1": b"1", "a2": b"2"}).read_bytes()
    (tmp_path / "x.zip").write_bytes(content.replace(b"a2", b"a1"))
    refused(tmp_path / "x.zip", "stands in it twice")


def test_folders_may_be_listed_any_number_of_times(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as packed:
        for name in (".", "a", "a", "a/b", "a"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            packed.addfile(entry)
        packed.addfile(tarfile.TarInfo("a/b/c"))
    assert files_below(unpack(tmp_path / "x.tar", tmp_path / "new")) == ["c"]


# ---- links, devices, passwords --------------------------------------------------------------------------------------


class Special(NamedTuple):
    type: bytes
    target: str = ""


@pytest.mark.parametrize(
    "special",
    [
        Special(tarfile.SYMTYPE, "/etc"),
        Special(tarfile.SYMTYPE, "good.txt"),
        Special(tarfile.LNKTYPE, "good.txt"),
        Special(tarfile.LNKTYPE, "/etc/passwd"),
        Special(tarfile.CHRTYPE),
        Special(tarfile.BLKTYPE),
        Special(tarfile.FIFOTYPE),
        Special(b"Z"),
    ],
    ids=[
        "link",
        "link inside",
        "hard link",
        "hard link outside",
        "character device",
        "block device",
        "pipe",
        "unknown",
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, special: Special) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as packed:
        packed.addfile(tarfile.TarInfo("good.txt"))
        entry = tarfile.TarInfo("bad")
        entry.type, entry.linkname = special
        packed.addfile(entry)
        packed.addfile(tarfile.TarInfo("bad/evil.txt"))  # through the link, if it were made
    refused(tmp_path / "x.tar", "'bad' is a link or a device")


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010666, 0o060666])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, mode: int) -> None:
    entry = zipfile.ZipInfo("bad")
    entry.create_system, entry.external_attr = 3, mode << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr("good.txt", b"1")
        packed.writestr(entry, b"/etc")
    refused(tmp_path / "x.zip", "'bad' is a link or a device")


def test_a_password_is_named(tmp_path: Path) -> None:
    content = packed_zip(tmp_path / "x.zip", {"a.txt": b"1"}).read_bytes()
    at = content.index(b"PK\x01\x02")
    (tmp_path / "x.zip").write_bytes(content[:6] + b"\x01\0" + content[8 : at + 8] + b"\x01\0" + content[at + 10 :])
    refused(tmp_path / "x.zip", "is protected by a password")


# ---- too large ------------------------------------------------------------------------------------------------------


def _small_limits(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(archive_entries, name, value)


@pytest.mark.parametrize("kind", ["zip", "zip lzma", "tar gz", "tar bz2", "tar xz"])
def test_a_bomb_is_stopped_before_it_is_written(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = MAKERS[kind](tmp_path / "x", {f"{n}.txt": bytes(2 << 20) for n in range(3)})
    unpack(archive, tmp_path / "fine")
    shutil.rmtree(tmp_path / "fine")
    _small_limits(monkeypatch, SMALL=1 << 20)
    refused(archive, "becomes more than 200 times as large unpacked")


def test_pictures_may_be_larger_than_the_small_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _small_limits(monkeypatch, SMALL=1)
    for kind, make in MAKERS.items():
        unpack(make(tmp_path / kind, {"a.bin": bytes(range(256)) * 8}), tmp_path / f"{kind} new")


@pytest.mark.parametrize("kind", ["zip", "tar gnu", "tar gz"])
def test_what_does_not_fit_on_the_disk_is_not_begun(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = MAKERS[kind](tmp_path / "x", {"a.bin": bytes(1000), "b.bin": bytes(1000)})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(archive_entries.shutil, "disk_usage", lambda _: usage._replace(free=1500))
    refused(archive, "GiB can be had on that disk; make room")


def test_a_disk_that_is_full_all_the_same_is_cleared_again(tmp_path: Path, small_disk: Path) -> None:
    archive = packed_zip(tmp_path / "x.zip", {f"{n}/a.bin": bytes(50_000) for n in range(8)})
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        usage = shutil.disk_usage(tmp_path)
        patched.setattr(archive_entries.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(DataError, match=r"cannot be unpacked \(No space left on device\)"):
            unpack(archive, small_disk / "new")
    assert list(small_disk.iterdir()) == []


def test_many_entries_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _small_limits(monkeypatch, MOST_ENTRIES=2)
    for kind in ("zip", "tar gz"):
        (tmp_path / kind).mkdir()
        refused(MAKERS[kind](tmp_path / kind / "x", dict.fromkeys("abc", b"")), "holds more than 2 entries")


def test_a_size_that_lies_is_damage(tmp_path: Path) -> None:
    content = bytearray(packed_zip(tmp_path / "x.zip", {"a.txt": b"1" * 1000}).read_bytes())
    at = content.index(b"PK\x01\x02")
    for stated in (10, 5000):
        content[at + 24 : at + 28] = struct.pack("<I", stated)
        (tmp_path / "x.zip").write_bytes(content)
        refused(tmp_path / "x.zip", "damaged or cut off")
        shutil.rmtree(tmp_path / "new")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("long")
    entry.type, entry.size = kind, 1 << 40
    (tmp_path / "x.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(5000))
    refused(tmp_path / "x.tar", "a header is longer than")


def test_a_negative_size_does_not_hang(tmp_path: Path) -> None:
    content = bytearray(packed_tar(tmp_path / "x.tar", {"a.txt": b"1"}, form=tarfile.GNU_FORMAT).read_bytes())
    content[124:136] = b"\xff" * 11 + b"\x00"  # base 256: -256
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    (tmp_path / "x.tar").write_bytes(content)
    refused(tmp_path / "x.tar", "")


def test_what_follows_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LONGEST_FILL", 1 << 20)
    plain = packed_tar(tmp_path / "x", {"a.txt": b"1"}).read_bytes()
    (tmp_path / "x").write_bytes(gzip.compress(plain + bytes(4 << 20)))
    refused(tmp_path / "x", "bytes follow its end")


# ---- damaged, cut off, of other kinds -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(MAKERS))
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_cut_archive_is_named_as_one(tmp_path: Path, kind: str, share: float) -> None:
    archive = MAKERS[kind](tmp_path / "x", {f"{n}.bin": bytes(range(256)) * 20 for n in range(8)})
    content = archive.read_bytes()
    end = len(content.rstrip(b"\0"))  # a tar file fills its last 10 KB with zeros
    archive.write_bytes(content[: int(end * share)])
    refused(archive, "fetch or pack it again")


def test_a_tar_that_is_cut_between_two_files_is_cut(tmp_path: Path) -> None:
    content = packed_tar(tmp_path / "x.tar", {"a.txt": b"1", "b.txt": b"2"}, form=tarfile.USTAR_FORMAT).read_bytes()
    (tmp_path / "x.tar").write_bytes(content[:1024])
    refused(tmp_path / "x.tar", "the mark at its end is missing")


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    content = bytearray(
        packed_tar(tmp_path / "x.tar", {"a.txt": b"1", "b.txt": b"2"}, form=tarfile.USTAR_FORMAT).read_bytes()
    )
    content[1030] ^= 1
    (tmp_path / "x.tar").write_bytes(content)
    refused(tmp_path / "x.tar", "the mark at its end is missing")


@pytest.mark.parametrize("kind", ["zip", "zip stored", "tar gz", "tar bz2", "tar xz"])
def test_a_changed_byte_is_noticed(tmp_path: Path, kind: str) -> None:
    archive = MAKERS[kind](tmp_path / "x", {"a.bin": bytes(range(256)) * 20})
    content = bytearray(archive.read_bytes())
    content[len(content) // 3] ^= 0x55
    archive.write_bytes(content)
    refused(archive, "damaged")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x05\x06" + bytes(18), "holds no files"),
        (b"PK\x03\x04", "damaged or cut off"),
        (b"Rar!\x1a\x07\x01\x00", "a rar archive, which is not read"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(20), "a 7z archive, which is not read"),
        (gzip.compress(b"label,x,y\n" * 100), "no tar archive in it"),
        (gzip.compress(b""), "no tar archive in it"),
        (bz2.compress(b"x" * 2000), "no tar archive in it"),
        (lzma.compress(b"x" * 2000), "no tar archive in it"),
        (bytes(10), "no archive that is known"),
        (b"", "no archive that is known"),
    ],
    ids=["empty zip", "cut zip", "rar", "7z", "gzip", "empty gzip", "bzip2", "xz", "zeros", "nothing"],
)
def test_other_files_are_refused_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    assert is_archive(tmp_path / "x.zip") == ("no archive" not in words)
    refused(tmp_path / "x.zip", words)


def test_an_empty_tar_holds_no_files(tmp_path: Path) -> None:
    refused(packed_tar(tmp_path / "x.tar", {}, "w:gz"), "holds no files")


def test_a_way_of_packing_that_is_not_read_is_named(tmp_path: Path) -> None:
    content = bytearray(packed_zip(tmp_path / "x.zip", {"a.txt": b"1" * 99}).read_bytes())
    at = content.index(b"PK\x01\x02")
    content[8:10] = content[at + 10 : at + 12] = b"\x09\0"  # deflate64, of Windows' Explorer for large files
    (tmp_path / "x.zip").write_bytes(content)
    refused(tmp_path / "x.zip", "packed in a way that is not read")


def test_what_is_no_archive_is_none(tmp_path: Path) -> None:
    for name, content in {"a.png": b"\x89PNG\r\n\x1a\n", "a.zip": b"names: [pit]", "b.tar": bytes(2000)}.items():
        (tmp_path / name).write_bytes(content)
        assert not is_archive(tmp_path / name)
    assert not is_archive(tmp_path / "gone")
    assert not is_archive(tmp_path)


def test_a_stop_by_hand_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed_zip(tmp_path / "x.zip")

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archive_entries.EntryWriter, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "new" / "folder")
    assert files_below(tmp_path) == ["x.zip"]
    assert not (tmp_path / "new").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(sorted(MAKERS)), at=st.floats(0, 1), bytes_in=st.binary(max_size=8), out=st.integers(0, 40))
def test_any_damage_ends_in_words_and_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, kind: str, at: float, bytes_in: bytes, out: int
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    archive = MAKERS[kind](folder / "x")
    content = archive.read_bytes()
    place = int(at * len(content))
    archive.write_bytes(content[:place] + bytes_in + content[place + out :])
    with contextlib.suppress(DataError):
        unpack(archive, folder / "new")
        return
    assert [path.name for path in folder.iterdir()] == ["x"]
