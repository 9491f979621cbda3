"""The page of an audit: figures that say what the tables say, pictures of what findings name, nothing loaded or run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import draw
from parsed_page import Page

from pipeline.data.dataset import Dataset, dataset_from_rows
from pipeline.reporting.data_figures import _CELLS, _coverage, data_figures, size_fact
from pipeline.reporting.data_gallery import PER_FINDING, finding_groups
from pipeline.reporting.data_page import rows_sentence, view, write_audit_page

HOSTILE = "<script>alert(1)</script> $x_1$ & co"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    images, boxes = [], []
    for number in range(6):
        path = f"p{number}.png"
        draw(tmp_path / path, 400, 300)
        split = "train" if number < 4 else "val"
        images.append({"image_id": number + 1, "path": path, "width": 400, "height": 300, "split": split})
        corners = {"x1": 20.0 * number, "y1": 40.0, "x2": 20.0 * number + 30, "y2": 90.0}
        boxes.append({"image_id": number + 1, "class_id": number % 2, "source": f"l{number}.txt:1", **corners})
    return dataset_from_rows(("pit", HOSTILE), images, boxes, tmp_path)


def _finding(key: str, **evidence: Any) -> dict[str, Any]:
    return {"id": key, "severity": "warning", "message": f"about {HOSTILE}", "evidence": evidence, "advice": "look"}


def _document(*findings: dict[str, Any]) -> dict[str, Any]:
    rows = {"read": 7, "kept": 5, "repaired": 1, "dropped": 1, "refused": 0}
    classes = [{"class": HOSTILE, "split": "train", "boxes": 3}]
    about = {"format": "yolo", "why": "looked"}
    return {"rows": rows, "figures": {"classes": classes}, "findings": list(findings), **about}


def test_the_page_is_whole_escapes_names_and_loads_nothing(dataset: Dataset, tmp_path: Path) -> None:
    document = _document(_finding("labels.odd", rows=["l1.txt:1"], count=1))
    page = Page(write_audit_page(tmp_path / "out" / "audit.html", dataset, document).read_text("utf-8"))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert all(v.startswith(("data:", "#", "file:")) for v in [*page.values("href"), *page.values("src")])
    assert "7 label rows read = 5 kept + 1 repaired + 1 dropped + 0 refused." in page.text


def test_a_finding_shows_the_boxes_that_it_names_cut_out_and_marked(dataset: Dataset) -> None:
    (group,) = finding_groups(dataset, [_finding("labels.odd", rows=["l1.txt:1", "l2.txt:1", "gone.txt:9"])])
    assert [cut.name for cut in group.cuts] == ["p1.png", "p2.png"]
    for cut in group.cuts:
        assert cut.picture.startswith("data:image/jpeg;base64,")
        (mark,) = cut.found
        assert mark.width / mark.height == pytest.approx(30 / 50)
        assert 0 <= mark.x
        assert mark.x + mark.width <= cut.width
    assert "30 × 50 pixels (l1.txt:1)" in group.cuts[0].caption


def test_a_finding_shows_whole_pictures_where_it_names_no_boxes_and_a_handful_at_most(dataset: Dataset) -> None:
    groups = finding_groups(
        dataset,
        [
            _finding("images.odd", pictures=[f"p{number}.png" for number in range(6)]),
            _finding("images.gone", pictures=["elsewhere.png"]),
            _finding("classes.few", classes=["pit"]),
        ],
    )
    assert [group.id for group in groups] == ["images.odd"]
    assert len(groups[0].cuts) == PER_FINDING
    assert all(len(cut.truth) == 1 and not cut.found for cut in groups[0].cuts)


def test_pairs_stand_side_by_side_in_the_order_of_the_finding(dataset: Dataset) -> None:
    (group,) = finding_groups(
        dataset, [_finding("split.leak_alike", pictures=["p4.png", "p1.png", "p5.png", "p0.png"])]
    )
    assert [cut.name for cut in group.cuts] == ["p4.png", "p1.png", "p5.png", "p0.png"]


def test_a_picture_that_is_gone_is_said_and_stops_nothing(dataset: Dataset) -> None:
    (dataset.root / "p1.png").unlink()
    (group,) = finding_groups(dataset, [_finding("labels.odd", rows=["l1.txt:1"])])
    assert group.cuts[0].picture == ""
    assert group.cuts[0].problem


def test_figures_are_drawn_from_any_tables(dataset: Dataset) -> None:
    assert [f["title"] for f in data_figures(dataset)] == [
        "Boxes of each class",
        "How large the boxes are",
        "Where the boxes lie",
    ]
    empty = dataset_from_rows(("pit",), dataset.images.to_dicts(), [], dataset.root)
    assert [f["title"] for f in data_figures(empty)] == ["Boxes of each class"]


def test_the_map_of_places_counts_the_boxes_over_every_cell(dataset: Dataset) -> None:
    rng = np.random.default_rng(3)
    first = rng.uniform(0, 0.8, (200, 2))
    last = np.minimum(first + rng.uniform(0.01, 0.4, (200, 2)), 1)
    corners = np.concatenate([first, last], axis=1) * (400, 300, 400, 300)
    rows = [
        {"image_id": 1, "class_id": 0, **dict(zip(("x1", "y1", "x2", "y2"), c, strict=True))} for c in corners.tolist()
    ]
    boxes = dataset_from_rows(("pit",), dataset.images.to_dicts(), rows, dataset.root).boxes
    table = boxes.join(dataset.images.select("image_id", "width", "height"), on="image_id")
    expected = np.zeros((_CELLS, _CELLS))
    for x1, y1, x2, y2 in corners / (400, 300, 400, 300):
        for row in range(_CELLS):
            for column in range(_CELLS):
                across = x1 * _CELLS < column + 1 and x2 * _CELLS > column
                expected[row, column] += across and y1 * _CELLS < row + 1 and y2 * _CELLS > row
    assert (_coverage(table) == expected).all()


def test_words(dataset: Dataset) -> None:
    assert size_fact(dataset.images) == "400 × 300 pixels"
    assert rows_sentence({}) == ""
    assert view(dataset, {})["rows"] == ""
