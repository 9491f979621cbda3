"""Labels that may be wrong, ranked for a person to look at. A suspicion is no proof: it says where to look first.

Four kinds. Three are ObjectLab's (Tkachenko, Thyagarajan and Mueller 2023, arXiv 2309.00832: overlooked, swapped, badly
placed), scored by a detector's confidence; the fourth is ours.

- "missing": a confident detection with no label of its own. Suspicion: score x precision of its class x (1 - IoU with
  the nearest label, which another detection found or which is of another class).
- "class": a confident detection of another class on a label. (score - score of the label's own class) x precision.
- "place": a confident detection of the label's class that fits it far worse than right ones fit theirs: its IoU is an
  outlier by Tukey's rule (1977; below the lower quartile by 1.5 times the range between the quartiles).
  score x (1 - IoU / median IoU).
- "extra": no detection at any score finds the label. recall of its class x (1 - score of what overlaps it less) / 2:
  silence is weaker than a confident contradiction. Of equal ones the larger label comes first, as small objects are
  missed more often.

Precision is that of the class's detections from `CONFIDENT` on, recall that at all scores, each with one success and
one failure added (Laplace's rule), so that few boxes do not make it 0 or 1. A detector that is often wrong about a
class, or misses many of it, says little about that class's labels; that is why they are factors.

The detector must not have been trained on these pictures: it would have learnt their mistakes. How often the suspicions
are right on labels broken on purpose stands in `docs/benchmarks/error_types.md`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ..data.boxes import iou_of_pairs
from ..data.dataset import Dataset
from .error_types import CONFIDENT, ErrorTable

_SAME_PLACE = 0.5  # IoU from which two detections are of one place, as in the match
_ENOUGH = 20  # with fewer right detections of a class, the quartiles of all classes are used
_TUKEY = 1.5

SUSPECTS_SCHEMA: dict[str, Any] = {
    "kind": pl.String,  # missing, class, place, extra
    "suspicion": pl.Float64,  # 0 to 1, falling
    "image_id": pl.UInt32,
    "path": pl.String,  # relative to the dataset's root
    "class_id": pl.UInt16,  # the suggestion: class and box. Of "extra" the label itself, which may have to go
    "x1": pl.Float64,
    "y1": pl.Float64,
    "x2": pl.Float64,
    "y2": pl.Float64,
    "score": pl.Float64,  # of the detection; null for "extra"
    "label": pl.UInt32,  # row of the split's boxes; null for "missing", as are the next two
    "label_class": pl.UInt16,
    "source": pl.String,  # "file:line" of the label
    "iou": pl.Float64,  # of detection and label; null for "missing" and "extra"
    "why": pl.String,
}


def suspects(dataset: Dataset, errors: ErrorTable) -> pl.DataFrame:
    """Return suspected label errors with the columns of `SUSPECTS_SCHEMA`, the most suspicious first.

    Args:
        dataset: the evaluated split, the one that `errors` was made of.
        errors: its errors, from detections down to a low score (0.001 is the default): what is not found "at any score"
            is not found among these.
    """
    found = _right(errors)
    wrong = errors.to_frame()
    rates = _rates(dataset, errors, found)
    parts = [_missing(wrong), _class(wrong, found), _place(wrong, found), _extra(wrong)]
    rows = pl.concat(parts, how="diagonal_relaxed").join(rates, on="class_id", how="left", maintain_order="left")
    rows = rows.with_columns(suspicion=_SUSPICION).filter(pl.col("suspicion") > 0)
    labels = dataset.boxes.with_row_index("label").select(
        "label", "source", pl.col("x1", "y1", "x2", "y2").name.prefix("label_")
    )
    rows = rows.join(dataset.images.select("image_id", "path"), on="image_id", how="left", maintain_order="left")
    rows = rows.join(labels, on="label", how="left", maintain_order="left")
    is_extra = pl.col("kind") == "extra"
    of_label = ~pl.col("kind").is_in(["extra", "missing"])
    corners = {c: pl.when(is_extra).then(pl.col(f"label_{c}")).otherwise(pl.col(c)) for c in ("x1", "y1", "x2", "y2")}
    rows = rows.with_columns(
        **corners, iou=pl.when(of_label).then(pl.col("iou")), score=pl.when(~is_extra).then(pl.col("score"))
    )
    why = [_why(dataset.names, row) for row in rows.iter_rows(named=True)]
    extent = (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
    rows = rows.with_columns(pl.Series("why", why, pl.String))
    rows = rows.sort("suspicion", extent, descending=True, nulls_last=True, maintain_order=True)
    return rows.select(pl.col(name).cast(kind) for name, kind in SUSPECTS_SCHEMA.items())


_SUSPICION = (
    pl.when(pl.col("kind") == "missing")
    .then(pl.col("score") * pl.col("precision") * (1 - pl.col("iou")))
    .when(pl.col("kind") == "class")
    .then((pl.col("score") - pl.col("own_score")) * pl.col("precision"))
    .when(pl.col("kind") == "place")
    .then(pl.when(pl.col("iou") < pl.col("fence")).then(pl.col("score") * (1 - pl.col("iou") / pl.col("usual"))))
    .otherwise(pl.col("recall") * (1 - pl.col("score")) / 2)
)


def _right(errors: ErrorTable) -> pl.DataFrame:
    """Return the right detections: image_id, class_id, score, corners, the label they found and their IoU with it."""
    table = errors.table
    at = np.flatnonzero(errors.outcomes.hit)
    row, label = table.order[at], table.matched(int(np.argmin(np.abs(table.thresholds - _SAME_PLACE))))[at]
    own, other = table.detections.xyxy[row], table.truth.xyxy[label] if len(label) else np.zeros((0, 4))
    frame = pl.DataFrame(
        {
            "image_id": table.truth.image_ids[table.detections.image[row]],
            "class_id": table.detections.class_id[row],
            "score": table.detections.score[row],
            "label": label,
            "iou": iou_of_pairs(own, other),
        }
    )
    corners = zip(("x1", "y1", "x2", "y2"), own.T, strict=True)
    return frame.with_columns(pl.Series(name, column) for name, column in corners)


def _rates(dataset: Dataset, errors: ErrorTable, found: pl.DataFrame) -> pl.DataFrame:
    """Return per class: precision of confident detections, recall at all scores, usual IoU and its lower fence."""
    classes = len(dataset.names)
    table, hit = errors.table, errors.outcomes.hit
    sure = (table.score >= CONFIDENT) & ~errors.outcomes.ignored
    all_sure, right = (np.bincount(table.class_id[chosen], minlength=classes) for chosen in (sure, sure & hit))
    boxes = np.bincount(errors.outcomes.truth_class, minlength=classes)
    reached = np.bincount(table.class_id[hit], minlength=classes)
    low, usual, high = np.full((3, classes), np.nan)
    everything = found["iou"].to_numpy()
    for k in range(classes):
        own = found.filter(pl.col("class_id") == k)["iou"].to_numpy()
        values = own if len(own) >= _ENOUGH else everything
        if len(values):
            low[k], usual[k], high[k] = np.quantile(values, (0.25, 0.5, 0.75))
    return pl.DataFrame(
        {
            "class_id": np.arange(classes),
            "precision": (right + 1) / (all_sure + 2),
            "recall": (reached + 1) / (boxes + 2),
            "usual": usual,
            "fence": low - _TUKEY * (high - low),
        },
        nan_to_null=True,
    )


def _missing(wrong: pl.DataFrame) -> pl.DataFrame:
    """Return confident detections with no label of their own, one of each place."""
    spare = (pl.col("type") == "place") & ~pl.col("owns")
    alarms = wrong.filter(pl.col("type").is_in(["background", "both"]) | spare, pl.col("score") >= CONFIDENT)
    alarms = alarms.sort("score", descending=True, maintain_order=True)
    corners = alarms.select("x1", "y1", "x2", "y2").to_numpy()
    keep = np.zeros(alarms.height, np.bool_)
    kept: dict[int, list[int]] = {}
    for row, image_id in enumerate(alarms["image_id"]):
        before = corners[kept.setdefault(image_id, [])]
        if not (iou_of_pairs(corners[row, None], before) >= _SAME_PLACE).any():
            keep[row] = True
            kept[image_id].append(row)
    kept_alarms = _suggested(alarms.filter(pl.Series(keep)), "missing").drop("label", "label_class")
    return kept_alarms.with_columns(pl.col("iou").fill_null(0.0))


def _class(wrong: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """Return the surest detection of another class on each label, with the score of what found the label, if any."""
    swaps = wrong.filter(pl.col("type") == "class", pl.col("score") >= CONFIDENT)
    swaps = _suggested(swaps.unique("truth", keep="first", maintain_order=True), "class")
    own = found.select(pl.col("label").cast(pl.UInt32), own_score="score")
    return swaps.join(own, on="label", how="left", maintain_order="left").with_columns(
        pl.col("own_score").fill_null(0.0)
    )


def _place(wrong: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """Return the detection of each label that found it, or missed it only by its place."""
    shifted = _suggested(wrong.filter(pl.col("type") == "place", pl.col("owns")), "place")
    fitted = found.with_columns(kind=pl.lit("place"), label_class=pl.col("class_id"))
    return pl.concat([shifted, fitted], how="diagonal_relaxed").filter(pl.col("score") >= CONFIDENT)


def _extra(wrong: pl.DataFrame) -> pl.DataFrame:
    """Return labels that nothing found; `score` is that of the surest detection that overlaps one too little."""
    near = wrong.filter(pl.col("type") == "both").group_by("truth").agg(pl.col("score").max())
    missed = (
        wrong.filter(pl.col("type") == "missed").drop("score").join(near, on="truth", how="left", maintain_order="left")
    )
    return _suggested(missed, "extra").with_columns(pl.col("score").fill_null(0.0), class_id=pl.col("label_class"))


def _suggested(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    kept = ("image_id", "class_id", "score", "x1", "y1", "x2", "y2", "truth_class", "iou")
    return rows.select(pl.lit(kind).alias("kind"), *kept, label="truth").rename({"truth_class": "label_class"})


def _why(names: tuple[str, ...], row: dict[str, Any]) -> str:
    name = f"'{names[row['class_id']]}'"
    if row["kind"] == "missing":
        return f"{name} is detected with {row['score']:.2f}, and has no label of its own"
    if row["kind"] == "class":
        own = f"; as labelled with {row['own_score']:.2f}" if row["own_score"] else ""
        return f"labelled '{names[row['label_class']]}', detected as {name} with {row['score']:.2f}{own}"
    if row["kind"] == "place":
        return (
            f"{name} is detected with {row['score']:.2f}, but overlaps the label by IoU {row['iou']:.2f}; "
            f"usual are {row['usual']:.2f}"
        )
    return f"no detection finds this label; of {name}, {row['recall']:.0%} are found"
