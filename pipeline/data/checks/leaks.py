"""Pictures that are the same or look alike: across splits the score flatters, within one they weigh double."""

from __future__ import annotations

import math
from collections import Counter

import polars as pl

from ...findings import Finding, Severity
from ..duplicates import PAIRS_EACH
from ..raw import ROWS_NAMED
from .evidence import counted, plain
from .snapshot import Snapshot

# A share of pictures moves a score by as many points at most. The 95 % interval of a score reaches 50 points over the
# root of their number to either side (docs/benchmarks/coverage.md); less than half of that is a note.
FEW = 0.25
_ADVICE = (
    "data.group=duplicates with data.splits=repair puts pictures that look alike into one split; nothing is deleted"
)


def leak_identical(snapshot: Snapshot) -> list[Finding]:
    """Find the same file in two splits; an error where train is one of them."""
    pairs = _across(snapshot, "identical")
    if pairs.is_empty():
        return []
    trained = pairs.filter((pl.col("one_split") == "train") | (pl.col("other_split") == "train"))
    severity: Severity = "warning" if trained.is_empty() else "error"
    message = f"{_measured(pairs, 'is', 'are')} the very same file as a picture of another split; the score flatters"
    return [Finding("split.leak_identical", severity, message, _evidence(pairs), _ADVICE)]


def leak_alike(snapshot: Snapshot) -> list[Finding]:
    """Find pictures of two splits that look alike: copies saved anew, frames of one film, or the same place again."""
    pairs = _across(snapshot, "alike")
    if pairs.is_empty():
        return []
    message = (
        f"{_measured(pairs, 'looks', 'look')} like a picture of another split; if they show the same thing, the score "
        "flatters"
    )
    severity: Severity = "warning" if _matters(snapshot, pairs) else "info"
    return [Finding("split.leak_alike", severity, message, _evidence(pairs), f"look at the pairs; {_ADVICE}")]


def copies(snapshot: Snapshot) -> list[Finding]:
    """Count identical files within one split."""
    pairs = _within(snapshot, "identical")
    if pairs.is_empty():
        return []
    count = pairs["other"].n_unique()
    message = f"{counted(count, 'picture is', 'pictures are')} the same file as another one of their split"
    advice = "keep one of each: copies weigh double in training and in the score"
    return [Finding("images.duplicate", "info", message, _evidence(pairs), advice)]


def alike(snapshot: Snapshot) -> list[Finding]:
    """Count pictures within one split that look alike, and the clusters that they make."""
    pairs = _within(snapshot, "alike")
    if pairs.is_empty() or snapshot.duplicates is None:
        return []
    clusters = [cluster for cluster in snapshot.duplicates.clusters if len(cluster) > 1]
    members = sum(map(len, clusters))
    message = (
        f"{members:,} of {counted(snapshot.images.height, 'picture')} look like another one, in "
        f"{counted(len(clusters), 'cluster')}, the largest of {max(map(len, clusters)):,}"
    )
    advice = "fewer pictures are independent than there are: data.group=duplicates keeps a cluster in one split"
    not_listed = snapshot.duplicates.left_out
    if not_listed:
        message += f"; {counted(not_listed, 'further pair')} of pictures that have {PAIRS_EACH} already are not listed"
    evidence = {**_evidence(pairs), "not_listed": not_listed}
    evidence["clusters"] = [list(cluster[:ROWS_NAMED]) for cluster in clusters[:ROWS_NAMED]]
    return [Finding("images.alike", "info", message, evidence, advice)]


def not_compared(snapshot: Snapshot) -> list[Finding]:
    """Count pictures of nearly one grey, of which nothing tells whether they look alike."""
    flat = () if snapshot.duplicates is None else snapshot.duplicates.flat
    if not flat:
        return []
    message = (
        f"{counted(len(flat), 'picture is', 'pictures are')} nearly of one grey: nobody can tell whether they look "
        "like others, so they were compared as files only"
    )
    advice = "if they come from one film or one part, put them into one split by hand: column `group` of images.csv"
    evidence = {"count": len(flat), "pictures": list(flat[:ROWS_NAMED])}
    return [Finding("images.flat", "info", message, evidence, advice)]


def labels_of_copies(snapshot: Snapshot) -> list[Finding]:
    """Find identical files whose boxes differ: one of the two is labelled wrongly, or not at all."""
    if snapshot.duplicates is None:
        return []
    pairs = snapshot.duplicates.pairs.filter(pl.col("kind") == "identical").select("one", "other")
    if pairs.is_empty():
        return []
    wanted = pl.concat([pairs["one"], pairs["other"]]).unique()
    ids = snapshot.images.filter(pl.col("path").is_in(wanted.implode())).select("image_id", "path")
    corners = [pl.col(name).round(0) for name in ("x1", "y1", "x2", "y2")]
    rows = snapshot.boxes.join(ids, on="image_id").select("path", "class_id", *corners)
    labels: dict[str, Counter[tuple[float, ...]]] = {path: Counter() for path in wanted}
    for path, *row in rows.iter_rows():
        labels[path][tuple(row)] += 1
    found = [(one, other) for one, other in pairs.iter_rows() if labels[one] != labels[other]]
    if not found:
        return []
    message = f"{counted(len(found), 'pair')} of identical files with different boxes"
    evidence = {
        "count": len(found),
        "pictures": [path for pair in found for path in pair][:ROWS_NAMED],
        "pairs": [
            f"{one} ({labels[one].total()} boxes) and {other} ({labels[other].total()})"
            for one, other in found[:ROWS_NAMED]
        ],
    }
    advice = "keep the file with the right boxes and take the other one out"
    return [Finding("labels.differ_on_copies", "warning", message, evidence, advice)]


def _pairs(snapshot: Snapshot, kind: str) -> pl.DataFrame | None:
    return None if snapshot.duplicates is None else snapshot.duplicates.pairs.filter(pl.col("kind") == kind)


def _across(snapshot: Snapshot, kind: str) -> pl.DataFrame:
    pairs = _pairs(snapshot, kind)
    if pairs is None:
        return pl.DataFrame()
    return pairs.filter(pl.col("one_split") != pl.col("other_split"))  # null is in no split: no leak


def _within(snapshot: Snapshot, kind: str) -> pl.DataFrame:
    pairs = _pairs(snapshot, kind)
    if pairs is None:
        return pl.DataFrame()
    return pairs.filter(pl.col("one_split").eq_missing(pl.col("other_split")))


def _matters(snapshot: Snapshot, pairs: pl.DataFrame) -> bool:
    """Whether enough pictures of val or of test look like one of another split to move a score by half of luck."""
    held = dict(snapshot.images.group_by("split").len().iter_rows())
    return any(count / held[split] > FEW / math.sqrt(held[split]) for split, count in _concerned(pairs).items())


def _concerned(pairs: pl.DataFrame) -> dict[str, int]:
    """Return how many pictures of val and of test stand in the pairs."""
    ends = pl.concat([pairs.select(path=c, split=f"{c}_split") for c in ("one", "other")]).unique()
    return dict(ends.filter(pl.col("split") != "train").group_by("split").len().iter_rows())


def _measured(pairs: pl.DataFrame, one: str, more: str) -> str:
    """Return how many pictures of val and test are concerned: `12 val and 3 test pictures are`."""
    counts = _concerned(pairs)
    words = " and ".join(f"{counts[s]:,} {s}" for s in ("val", "test") if s in counts)
    return f"{words} picture {one}" if sum(counts.values()) == 1 else f"{words} pictures {more}"


def _evidence(pairs: pl.DataFrame) -> dict[str, object]:
    first = pairs.head(ROWS_NAMED)
    between = Counter(
        " and ".join(sorted({a or "none", b or "none"}))
        for a, b in pairs.select("one_split", "other_split").iter_rows()
    )
    words = [
        f"{one} ({a or 'none'}) and {other} ({b or 'none'})"
        for one, other, a, b in first.select("one", "other", "one_split", "other_split").iter_rows()
    ]
    return {
        "count": pairs.height,
        "pictures": [path for row in first.select("one", "other").iter_rows() for path in row][:ROWS_NAMED],
        "pairs": words,
        "correlation": [plain(value) for value in first["correlation"]],
        "splits": dict(between),
    }
