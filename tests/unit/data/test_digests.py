"""Digests: of the whole content, the same under any name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.data.digests import picture_digests


def test_digest_is_blake2b_of_the_content_under_any_name(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # several chunks, the last one not full
    places = [tmp_path / name for name in ("a.png", "ä b.JPG", "c")]
    for place in places:
        place.write_bytes(content)
    assert picture_digests(places) == [hashlib.blake2b(content, digest_size=16).hexdigest()] * 3


@pytest.mark.parametrize("place", [0, 65_536, (1 << 20) - 1, 1 << 20, 1_500_000, 2_999_999])
def test_a_changed_byte_anywhere_is_seen(tmp_path: Path, place: int) -> None:
    content = bytearray(3_000_000)
    (tmp_path / "a.png").write_bytes(content)
    content[place] = 1
    (tmp_path / "b.png").write_bytes(content)
    one, other = picture_digests([tmp_path / "a.png", tmp_path / "b.png"])
    assert one != other


def test_files_that_cannot_be_read_have_none(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    digests = picture_digests([tmp_path / "gone.png", tmp_path, tmp_path / "empty.png"])
    assert digests[:2] == ["", ""]
    assert len(digests[2]) == 32
