"""Is the installed Albumentations the right one? Tried with records as pip leaves them, and with the real other one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from pipeline.transform_library import require_albumentations

# `.ci/run` installs it there, without what it needs: it is never imported.
REAL_X = Path(os.environ.get("TUNEUP_ALBUMENTATIONSX", ROOT / ".venv" / "albumentationsx"))

CHECK = """
import sys
from pipeline.errors import ConfigError
from pipeline.transform_library import require_albumentations
try:
    require_albumentations()
except ConfigError as error:
    print(*error.problems)
assert "albumentations" not in sys.modules
"""


def _told(*folders: Path, isolated: bool = False) -> str:
    """Return what the check says in a Python that looks into these folders first; nothing where all is well."""
    path = os.pathsep.join(map(str, [*folders, ROOT]))
    blocked = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]\n" if isolated else ""
    result = subprocess.run(
        [sys.executable, "-c", blocked + CHECK],
        env={**os.environ, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def _install(folder: Path, **versions: str) -> Path:
    """Write a package `albumentations` with the records of these distributions beside it, as pip does."""
    (folder / "albumentations").mkdir(parents=True)
    (folder / "albumentations" / "__init__.py").write_text("raise SystemError('imported')\n", "utf-8")
    for name, version in versions.items():
        record = folder / f"{name}-{version}.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    return folder


def test_the_installed_one_is_right() -> None:
    require_albumentations()
    assert _told() == ""


@pytest.mark.parametrize("version", ["2.5.1", "2.0.8"])  # its oldest versions are numbered like the last of the other
def test_albumentationsx_in_its_place_is_named(tmp_path: Path, version: str) -> None:
    told = _told(_install(tmp_path / "site", albumentationsx=version))
    assert told.startswith(f"AlbumentationsX {version} stands in place of Albumentations in {tmp_path / 'site'}; ")
    assert "pip uninstall -y albumentationsx albumentations" in told
    assert told.endswith("`pip install --no-deps albumentations==2.0.8`")


def test_both_in_one_folder_are_a_mixture(tmp_path: Path) -> None:
    told = _told(_install(tmp_path, albumentationsx="2.5.1", albumentations="2.0.8"))
    assert told.startswith("AlbumentationsX 2.5.1 stands in place of Albumentations")


def test_one_that_lies_behind_the_right_one_does_no_harm(tmp_path: Path) -> None:
    right, other = _install(tmp_path / "a", albumentations="2.0.8"), _install(tmp_path / "b", albumentationsx="2.5.1")
    assert _told(right, other) == ""
    assert _told(other, right).startswith("AlbumentationsX 2.5.1 stands in place")


@pytest.mark.parametrize("version", ["1.4.24", "2.1.0", "20.0.1"])
def test_another_version_is_named(tmp_path: Path, version: str) -> None:
    told = _told(_install(tmp_path, albumentations=version))
    assert told.startswith(f"Albumentations {version} is installed in {tmp_path}, 2.0.8 is needed: `pip uninstall")


def test_a_package_without_a_record_is_not_trusted(tmp_path: Path) -> None:
    assert _told(_install(tmp_path)).startswith("Albumentations of unknown version is installed in")


def test_none_at_all() -> None:
    assert re.match(r"Albumentations is not installed in this Python; `pip install", _told(isolated=True))


def test_the_real_albumentationsx() -> None:
    if not (REAL_X / "albumentations").is_dir():
        pytest.skip(f"needs AlbumentationsX in {REAL_X}, see .ci/run")
    told = _told(REAL_X)
    assert re.match(r"AlbumentationsX \d+\.\d+\.\d+ stands in place of Albumentations in ", told)
    assert str(REAL_X) in told
