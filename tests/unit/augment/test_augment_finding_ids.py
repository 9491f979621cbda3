"""Every finding of the contract is explained in docs/findings-augment.md, and nothing is explained that is not used."""

from __future__ import annotations

import re

from helpers import ROOT

_ID = r"augment\.[a-z_]+"


def test_every_finding_of_the_contract_is_explained_and_no_other() -> None:
    sources = [*(ROOT / "pipeline" / "augment").glob("*.py"), ROOT / "pipeline" / "training" / "contract_check.py"]
    quoted = re.compile(rf"\"({_ID})\"")
    used = {key for source in sources for key in quoted.findall(source.read_text("utf-8"))}
    used -= {"augment.copy_paste"}  # a key of the configuration
    page = (ROOT / "docs" / "findings-augment.md").read_text("utf-8")
    explained = set(re.findall(rf"^### ({_ID})$", page, re.MULTILINE))
    assert len(used) > 10
    assert used == explained
