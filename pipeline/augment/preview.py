"""The preview: a policy seen on the pictures it will train on, one row for each entry and some for the whole stage.

Every tile is a draw of the stage, with the seeds that the contract measured with; nothing is re-enacted.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..data.dataset import Dataset
from ..errors import TuneUpError, UsageError
from ..findings import Finding, Severity, worst_first
from ..policy import PROBABILITIES, Policy, entries
from ..records import write_atomic
from .contract import Contract, setting
from .entry_measure import WHOLE, EntryMeasure
from .measure import probability_of, same, seed_of
from .preview_sheet import TILE, Head, Row, Tile, can_be_written, compose
from .stage import Drawn, Stage

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_QUALITY = 80  # of the JPEG: 30 rows of textured pictures stay below 4 MB (the field demo: 3.3 MB)
_WHOLE_ROWS = 3
_TRIES = 4  # pictures that are tried for one on which an entry is seen to act
_SEEN = 6  # px of a tile: a smaller object cannot be made out
_PLAIN = 0.005  # what is smaller is 1.00 as shown
_ENOUGH = 6  # boxes of one picture: more of them do not make it clearer


def draw_preview(dataset: Dataset, contract: Contract, path: Path, *, versions: int = 5, rect: bool = False) -> Path:
    """Write one picture: originals beside augmented versions, marked where the contract is broken.

    Args:
        dataset: the pictures that the contract was measured on: `trained_pictures` of the train split.
        contract: of the policy.
        path: of the picture, .jpg or .png; its folder is created, nothing else is written.
        versions: augmented ones in a row.
        rect: as `train.rect`.

    Returns:
        The path.

    Raises:
        UsageError: the path's suffix is not that of a picture.
        ConfigError: the policy cannot be built on this data.
        DataError: a picture cannot be read.
        RunError: the file cannot be written.
    """
    kind = kind_of(path)
    rows = preview_rows(dataset, contract, versions=versions, rect=rect)
    sheet, _ = compose(_head(dataset, contract, rows), rows, versions + 1)
    content = io.BytesIO()
    options = {"quality": _QUALITY, "optimize": True} if kind == "JPEG" else {}
    sheet.save(content, kind, **options)
    write_atomic(path, content.getvalue())
    return path


def kind_of(path: Path) -> str:
    """Return the format of a picture to write; raises UsageError for a suffix that is none."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: a preview is a picture; call it {path.with_suffix('.jpg').name}")
    return kind


def preview_rows(dataset: Dataset, contract: Contract, *, versions: int = 5, rect: bool = False) -> list[Row]:
    """Return the rows of the preview: the entries in the order of the stage, then the whole stage.

    Raises:
        ConfigError: the policy cannot be built on this data.
        DataError: a picture cannot be read.
    """
    artist = _Artist(dataset, contract, versions, rect)
    return [*(artist.entry(entry) for entry in entries(contract.policy)), *artist.whole()]


class _Artist:
    """Draws rows from one stage."""

    def __init__(self, dataset: Dataset, contract: Contract, versions: int, rect: bool) -> None:
        self.contract, self.versions = contract, versions
        self.paths, self.names = dataset.images["path"].to_list(), spoken_names(dataset.names)
        self.labels = dict(zip(dataset.names, self.names, strict=True))
        self.stage = Stage(dataset, contract.indices, contract.policy, contract.imgsz, rect=rect)
        with self.stage.acting(Policy.off()):
            self.plain = {index: self.stage.draw(index, 0) for index in contract.indices}
        self.measures = {measure.entry: measure for measure in contract.measures}

    def entry(self, entry: str) -> Row:
        """Return the row of one entry, which is made to act."""
        found = self._findings(entry)
        index, drawn, failure = self._acting(entry, found)
        return self._row(entry, _settings(self.contract.policy, entry), index, drawn, failure)

    def whole(self) -> list[Row]:
        """Return some rows of the whole stage as it is trained, each with another picture."""
        rows = []
        for number, index in enumerate(self._diverse()):
            drawn, failure = self._draw(index)
            named = WHOLE if number == 0 else f"{WHOLE}, another picture"
            rows.append(self._row(named, "as trained", index, drawn, failure))
            if failure:
                break
        return rows

    def _row(self, entry: str, words: str, index: int, drawn: Sequence[Drawn], failure: str) -> Row:
        measure = self.measures.get(entry)
        messages: list[tuple[Severity, str]] = [(f.severity, self._spoken(f.message)) for f in self._findings(entry)]
        note = ""
        if failure:
            note = "cannot be drawn"
            messages = messages or [("error", self._spoken(failure))]
        elif len(drawn) > 1 and all(same(drawn[0], other) for other in drawn[1:]):
            unchanged = np.array_equal(drawn[0].picture, self.plain[index].picture)
            drawn, note = drawn[:1], "the original, every time" if unchanged else "the same every time"
        facts = "" if measure is None else facts_words(measure, self.labels)
        if measure is None and entry in entries(self.contract.policy):
            facts = "not measured"
        tiles = tuple(_tile(picture) for picture in (self.plain[index], *drawn))
        return Row(entry, words, facts, self._spoken(self.paths[index]), tuple(messages), tiles, note)

    def _findings(self, entry: str) -> list[Finding]:
        return worst_first([f for f in self.contract.findings if f.evidence.get("entry") == entry])

    def _spoken(self, text: str) -> str:
        """Return text that the font can write: what it lacks in a class name is told by the number of the class."""
        for name, label in self.labels.items():
            if name != label:
                text = text.replace(name, label)
        return "".join(letter if can_be_written(letter) else "?" for letter in text)

    # ---- which picture -----------------------------------------------------------------------------------------

    def _acting(self, entry: str, found: Sequence[Finding]) -> tuple[int, list[Drawn], str]:
        """Return a picture on which the entry is seen to act, its versions, and what broke."""
        tried: list[tuple[tuple[bool, int], int, list[Drawn]]] = []
        loses = any(finding.id == "augment.boxes_lost" for finding in found)
        ranked = self._ranked(_classes_of(found))[:_TRIES]
        try:
            with self.stage.acting(self.contract.policy.only(entry, forced=True)):
                for index in ranked:
                    drawn = [self.stage.draw(index, seed_of(index, draw)) for draw in range(self.versions)]
                    plain = self.plain[index]
                    acts = any(not np.array_equal(plain.picture, one.picture) for one in drawn)
                    lost = sum(len(plain.rows) - int((one.rows >= 0).sum()) for one in drawn) if loses else 0
                    tried.append(((acts, lost), index, drawn))
                    if acts and not loses:
                        break
        except TuneUpError as error:
            return ranked[0], [], str(error)
        _, index, drawn = max(tried, key=lambda one: one[0])
        return index, drawn, ""

    def _draw(self, index: int) -> tuple[list[Drawn], str]:
        try:
            return [self.stage.draw(index, seed_of(index, draw)) for draw in range(self.versions)], ""
        except TuneUpError as error:
            return [], str(error)

    def _ranked(self, classes: frozenset[str]) -> list[int]:
        """Return the pictures, those first that show most of the named classes, then of any, to the naked eye."""
        seen = {index: self._seen(index) for index in self.plain}

        def rank(index: int) -> tuple[int, int, int, int]:
            named = sum(count for name, count in seen[index].items() if name in classes)
            return -min(named, _ENOUGH), -min(seen[index].total(), _ENOUGH), -len(seen[index]), index

        return sorted(self.plain, key=rank)

    def _seen(self, index: int) -> Counter[str]:
        """Return how many objects of each class can be made out in the tile of a picture."""
        plain, names = self.plain[index], list(self.labels)
        sides = (plain.boxes[:, 2:] - plain.boxes[:, :2]) * TILE / max(plain.picture.shape[:2])
        return Counter(names[c] for c, side in zip(plain.class_ids, sides, strict=True) if side.min() >= _SEEN)

    def _diverse(self) -> list[int]:
        """Return pictures that together show many classes."""
        left, shown = self._ranked(frozenset()), set[str]()
        chosen: list[int] = []
        while left and len(chosen) < _WHOLE_ROWS:
            best = max(left, key=lambda index: len(set(self._seen(index)) - shown))  # the first of equals
            shown |= set(self._seen(best))
            chosen.append(best)
            left.remove(best)
        return chosen


def _classes_of(found: Sequence[Finding]) -> frozenset[str]:
    """Return the classes that findings name."""
    named = (finding.evidence.get(key) for finding in found for key in ("survival", "contrast", "noise"))
    return frozenset(name for part in named if isinstance(part, Mapping) for name in part)


def _tile(drawn: Drawn) -> Tile:
    return Tile(drawn.picture, drawn.boxes, drawn.class_ids, drawn.rows < 0)


def _settings(policy: Policy, entry: str) -> str:
    """Return how an entry is set and how often it acts."""
    probability = probability_of(policy, entry)
    often = "on every picture" if probability == 1 else f"p {probability:g}"
    told = "" if entry in PROBABILITIES else setting(policy, entry)
    return ", ".join(part for part in (told, often) if part)


def facts_words(measure: EntryMeasure, labels: Mapping[str, str]) -> str:
    """Return in one line what was measured; `labels` are the class names as they can be written."""
    if measure.failure:
        return ""
    parts = [] if measure.survival is None else [f"{measure.survival:.0%} as many boxes come out"]
    if measure.hidden is not None and measure.hidden >= _PLAIN:
        parts.append(f"{measure.hidden:.0%} of the objects hidden in their boxes")
    if measure.pasted:
        parts.append(f"{sum(measure.pasted.values())} objects pasted into {measure.pictures} pictures")
    if measure.inflation is not None and abs(measure.inflation - 1) >= _PLAIN:
        parts.append(f"boxes {measure.inflation:.2f} times as large as their objects")
    if measure.contrast:
        name, (ratio, _) = min(measure.contrast.items(), key=lambda item: item[1][0])
        parts.append(f"lowest object contrast {ratio:.2f} of before ({labels[name]})")
    spent = "below 0.1" if measure.milliseconds < 0.1 else f"{measure.milliseconds:.1f}"
    return " · ".join([*parts, f"{spent} ms a picture"])


def _head(dataset: Dataset, contract: Contract, rows: Sequence[Row]) -> Head:
    named = f": {contract.policy.name}" if contract.policy.name else ""
    shown = sorted({int(class_id) for row in rows for tile in row.tiles for class_id in tile.class_ids})
    names = spoken_names(dataset.names)
    lines = [
        f"Training pictures as the network gets them, at {contract.imgsz} px. Each row shows one entry of the policy "
        "alone, made to act every time; the last rows show the whole stage as it is trained.",
        "Red frame: an error, it stops the training. Amber frame: a warning. Boxes have the colour of their class:",
    ]
    if any(tile.pasted.any() for row in rows for tile in row.tiles):
        lines[1] = lines[1].replace("Boxes", "Dashed boxes: pasted objects. Boxes")
    title = f"What the augmentation does{named}"
    return Head(
        title if can_be_written(title) else "What the augmentation does", tuple(lines), {c: names[c] for c in shown}
    )


def spoken_names(names: Sequence[str]) -> list[str]:
    """Return the class names, or the number of a class whose name the font cannot write."""
    return [name if can_be_written(name) else f"class {number}" for number, name in enumerate(names)]
