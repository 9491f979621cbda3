"""Every finding about data is explained somewhere, and everything explained can be found."""

from __future__ import annotations

import re

from helpers import ROOT

_ID = r"(?:labels|images|names|split|classes|audit|tiles)\.[a-z_0-9]+"
_SUFFIXES = {"csv", "json", "parquet", "txt"}  # such as classes.txt: a file's name, no finding


def _used() -> set[str]:
    pipeline = ROOT / "pipeline"
    sources = [
        *(pipeline / "data").rglob("*.py"),
        pipeline / "data_verbs.py",
        pipeline / "import_verbs.py",
        pipeline / "training" / "data_check.py",
    ]
    quoted = re.compile(rf"[\"']({_ID})[\"']")
    found = {key for source in sources for key in quoted.findall(source.read_text("utf-8"))}
    return {key for key in found if key.partition(".")[2] not in _SUFFIXES}


def _explained() -> set[str]:
    pages = [ROOT / "docs" / name for name in ("data.md", "findings-data.md", "diagnoses.md")]
    headings = re.compile(rf"(?:`|^### |^## |, )({_ID})(?=[`,\s]|$)", re.MULTILINE)
    return {key for page in pages for key in headings.findall(page.read_text("utf-8"))}


def test_every_finding_about_data_is_explained() -> None:
    assert sorted(_used() - _explained()) == []
