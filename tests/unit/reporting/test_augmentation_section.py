"""The section of the report on augmentation: a table, its findings beside, and the pictures."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from contract_record import contract_record, finding, measured
from fabricated_run import empty_run
from parsed_page import Page
from PIL import Image

from pipeline.errors import RunError
from pipeline.reporting.augmentation import HEADINGS, entry_rows, other_findings, view
from pipeline.reporting.html import render
from pipeline.runs import Run, write_json

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = empty_run(tmp_path / "runs" / "steel", "complete")
    write_json(made.path / "contract.json", contract_record())
    Image.new("RGB", (300, 200), "#806040").save(made.preview)
    return made


def cells(name: str) -> dict[str, str]:
    (row,) = [row for row in entry_rows(contract_record()) if row.name == name]
    return {head: f"{c.text} {c.of}".strip() for head, c in zip(HEADINGS[1:], row.cells, strict=True)}


def test_a_run_without_a_contract_has_no_such_section(tmp_path: Path) -> None:
    bare = empty_run(tmp_path / "runs" / "bare", "complete")
    assert view(bare) is None
    assert "Augmentation" not in Page(render(bare)).text


def test_the_section_shows_rows_findings_and_pictures_and_loads_nothing(run: Run) -> None:
    source = render(run)
    page = Page(source)
    assert "The policy metal was measured on 4 training pictures at 640 px." in page.text
    for row in entry_rows(contract_record()):
        assert row.name in page.text
    assert page.text.index("GaussNoise takes the contrast.") < page.text.index("GaussNoise#2")
    (picture,) = [v for v in page.values("href") if v.startswith("data:image/jpeg")]
    assert base64.b64decode(picture.partition(",")[2]) == run.preview.read_bytes()
    assert 'viewBox="0 0 300 200"' in source
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {v[1:] for v in page.values("href") if v.startswith("#")} <= set(ids)
    assert "script" not in page.tags


def test_figures_are_told_with_the_class_where_it_matters() -> None:
    assert cells("degrees") == {
        "setting": "10",
        "acts on": "all",
        "boxes": "100 %",
        "size": "×1.11",
        "contrast": "×1.00",
        "noise": "0.20",
        "mean": "-3",
        "ms": "1.2",
    }
    assert cells("GaussNoise")["contrast"] == "×0.41 pit"
    assert cells("GaussNoise#2")["noise"] == "0.50 pit"
    assert cells("GaussNoise#2")["setting"] == "std_range 0.02 to 0.05"
    assert cells("mosaic")["setting"] == ""
    assert cells("the whole stage")["boxes"] == "140 %"
    assert cells("the whole stage")["setting"] == "as trained"
    assert cells("copy_paste")["boxes"] == "100 % +7"
    assert cells("fliplr")["ms"] == "< 0.1"


def test_the_setting_is_the_contracts_where_it_has_one() -> None:
    record = contract_record(entries=[measured("GaussNoise", setting="std_range 0.2 to 0.44")])
    assert entry_rows(record)[0].cells[0].text == "std_range 0.2 to 0.44"


def test_only_the_figure_that_a_finding_is_about_is_marked() -> None:
    rows = {row.name: row for row in entry_rows(contract_record())}
    marked = {name: [h for h, c in zip(HEADINGS[1:], row.cells, strict=False) if c.odd] for name, row in rows.items()}
    assert {name: heads for name, heads in marked.items() if heads} == {"GaussNoise": ["contrast"]}
    assert rows["RandomFog"].failure
    assert not rows["RandomFog"].cells


def test_findings_about_no_entry_stand_below_the_table() -> None:
    assert [found["id"] for found in other_findings(contract_record())] == ["augment.not_measured"]


def test_names_are_escaped(run: Run) -> None:
    record = contract_record(findings=[finding("augment.black", "error", HOSTILE, entry=HOSTILE)])
    record["entries"][0]["entry"] = HOSTILE
    write_json(run.path / "contract.json", record)
    page = Page(render(run))
    assert "script" not in page.tags
    assert HOSTILE in page.text


def test_a_policy_without_entries_is_said_in_a_sentence(run: Run) -> None:
    write_json(run.path / "contract.json", contract_record(entries=[measured("the whole stage")], findings=[]))
    text = Page(render(run)).text
    assert "Pictures are trained as they are" in text
    assert "Acts on" not in text


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff no picture"], ids=["empty", "damaged"])
def test_a_damaged_preview_is_said(run: Run, content: bytes) -> None:
    run.preview.write_bytes(content)
    page = Page(render(run))
    assert "The pictures of the augmentation cannot be shown" in page.text
    assert not [v for v in page.values("href") if v.startswith("data:image/jpeg")]


def test_a_missing_preview_leaves_the_table(run: Run) -> None:
    run.preview.unlink()
    text = Page(render(run)).text
    assert "GaussNoise#2" in text
    assert "Open the pictures" not in text


def test_a_damaged_contract_is_an_error_with_its_path(run: Run) -> None:
    (run.path / "contract.json").write_text("{", "utf-8")
    with pytest.raises(RunError, match=r"contract\.json"):
        view(run)
