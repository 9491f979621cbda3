"""The README's Python runs as it stands, and the files and commands it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.training import trial_checks

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial_checks, "RANGE_STEPS", 8)  # the checks before the training run, only shorter
    monkeypatch.setattr(trial_checks, "OVERFIT_STEPS", 8)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert "grad_norm_before_clip" in printed
    assert re.search(r"val [\d.e-]+ True", printed)
    assert str(Path("runs")) in printed


def test_every_link_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("datasets/*.md")]
    assert len(pages) > 5
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_command_it_shows_is_known() -> None:
    verbs = {command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    assert set(re.findall(r"^tuneup (\w+)", README, re.MULTILINE)) <= verbs
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"`?make ([a-z-]+)", README):
        if target not in {"and", "alone", "lint"}:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
