"""The boxes of COCO files: annotations and detections as columns, with everything that is wrong with them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.images import MAX_LISTED
from ..errors import DataError

_FARTHEST = 1e15  # pixels; beyond it products of two sides lose whole pixels or overflow


class Boxes:
    """Gathers annotations or detections piece by piece, and everything that is wrong with them."""

    def __init__(self, path: Path, what: str, numbers: Mapping[str, float | None]) -> None:
        """Expect `numbers` beside image_id, category_id and bbox; what may be absent has a value that stands for it."""
        self._path, self._what, self._numbers = path, what, numbers
        self._codes: dict[str, dict[Any, int]] = {"image_id": {}, "category_id": {}}
        self._pieces: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]] = []
        self._problems: dict[str, _Problem] = {}
        self._count = 0
        self.ids: list[Any] = []

    def add(self, records: list[Any]) -> None:
        """Take the next records."""
        first, self._count = self._count, self._count + len(records)
        places: Sequence[int] = range(first, self._count)
        if set(map(type, records)) - {dict}:
            wrong = np.array([not isinstance(record, dict) for record in records])
            self._note("that are no objects", places, records, wrong)
            places = [place for place, record in zip(places, records, strict=True) if isinstance(record, dict)]
            records = [record for record in records if isinstance(record, dict)]
        if not records:
            return
        columns = [self._corners(records, places)]
        columns += [self._number(records, places, key, absent) for key, absent in self._numbers.items()]
        codes = [self._code([record.get(key) for record in records], key) for key in self._codes]
        self._pieces.append((codes[0], codes[1], np.column_stack(columns)))
        if self._what == "annotations":
            self.ids += [identity(record["id"]) for record in records if "id" in record]

    def finish(
        self, truth_path: Path, image_rows: Mapping[int | str, int], class_rows: Mapping[int | str, int]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        """Return [n] rows of pictures, [n] classes and [n, 4 + numbers] bbox and numbers.

        Raises:
            DataError: anything was wrong.
        """
        empty = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, 4 + len(self._numbers))))
        pieces, self._pieces = self._pieces or [empty], []
        image, category = (np.concatenate([piece[i] for piece in pieces]) for i in (0, 1))
        rows = []
        for key, what, codes, known in (
            ("image_id", "picture", image, image_rows),
            ("category_id", "category", category, class_rows),
        ):
            table = np.array([known.get(value, -1) for value in self._codes[key]] or [0], np.int32)
            rows.append(table[codes])
            self._note_unknown(f"with {key} that is no {what} of {truth_path}", key, codes, table, known)
        if self._problems:
            raise self._error()
        return rows[0], rows[1], np.concatenate([piece[2] for piece in pieces])

    def _corners(self, records: list[dict[str, Any]], places: Sequence[int]) -> NDArray[np.float64]:
        """Return [n, 4] bbox."""
        given = [record.get("bbox", _MISSING) for record in records]
        boxes = given
        if set(map(type, given)) != {list} or set(map(len, given)) != {4}:
            boxes = [box if isinstance(box, list) and len(box) == 4 else [None] * 4 for box in given]
        found = _floats(list(itertools.chain.from_iterable(boxes))).reshape(-1, 4)
        wrong = np.asarray(~(np.abs(found) < _FARTHEST).all(axis=1))
        self._note("whose bbox is not [x, y, width, height], four finite numbers", places, given, wrong)
        found[wrong] = 0
        return found

    def _number(
        self, records: list[dict[str, Any]], places: Sequence[int], key: str, absent: float | None
    ) -> NDArray[np.float64]:
        """Return [n] one number of each record."""
        given = [record.get(key, _MISSING) for record in records]
        if key == "iscrowd":
            given = [int(value) if type(value) is bool else value for value in given]
        found = _floats(given)
        wrong = np.asarray(~np.isfinite(found))
        if absent is not None and wrong.any():
            left_out = np.array([value is _MISSING or value is None for value in given])
            found[left_out] = absent
            wrong &= ~left_out
        self._note(f"whose {key} is not a finite number", places, given, wrong)
        return found

    def _code(self, values: list[Any], key: str) -> NDArray[np.int32]:
        """Return [n] a number for each id; which ids the ground truth knows may be read only later in the file."""
        codes = self._codes[key]
        if set(map(type, values)) - {int, str}:
            values = [identity(value) for value in values]
        return np.array([codes.setdefault(value, len(codes)) for value in values], np.int32)

    def _note(self, kind: str, places: Sequence[int], values: Sequence[Any], wrong: NDArray[np.bool_]) -> None:
        """Count records that cannot be used, and keep the first ones as examples."""
        if wrong.any():
            problem = self._problems.setdefault(kind, _Problem())
            problem.count += int(wrong.sum())
            for index in np.flatnonzero(wrong)[: MAX_LISTED - len(problem.examples)]:
                problem.examples.append(f"{shown(values[index])} at {places[index]}")

    def _note_unknown(
        self, kind: str, key: str, codes: NDArray[np.int32], table: NDArray[np.int32], known: Iterable[Any]
    ) -> None:
        """Count records with ids that the ground truth has not; the examples are different ids."""
        unknown = np.flatnonzero(table < 0)
        if not len(unknown) or not len(codes):
            return
        values = list(self._codes[key])
        count = np.bincount(codes, minlength=len(table))[unknown]
        examples = [f"{shown(values[code])} at {np.argmax(codes == code)}" for code in unknown[:MAX_LISTED]]
        rest = len(unknown) - len(examples)
        first = [shown(key) for key in itertools.islice(known, MAX_LISTED + 1)]
        hint = f" and {rest:,} more ids" if rest else ""
        hint += f" (known are {', '.join(first[:MAX_LISTED]) or 'none'}{', ...' if len(first) > MAX_LISTED else ''})"
        self._problems[kind] = _Problem(int(count.sum()), examples, hint)

    def _error(self) -> DataError:
        lines = [f"{self._path}: {self._what} that cannot be used, of {self._count:,} (places are counted from 0):"]
        for kind, problem in self._problems.items():
            rest = problem.count - len(problem.examples)
            tail = problem.hint or (f" and {rest:,} more" if rest else "")
            lines.append(f"  {problem.count:,} {kind}: {', '.join(problem.examples)}{tail}")
        return DataError("\n".join([*lines, "Mend the file or write it again."]))


@dataclass
class _Problem:
    count: int = 0
    examples: list[str] = field(default_factory=list)
    hint: str = ""


class _Missing:
    """Stands for a key that a record has not, to tell it from null."""


_MISSING = _Missing()


def shown(value: Any) -> str:
    """Return a value as it stands in the file, cut short."""
    if value is _MISSING:
        return "missing"
    text = value.text if isinstance(value, _Odd) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


@dataclass(frozen=True)
class _Odd:
    """What stands in the place of an id and cannot be one; equal to no id."""

    text: str


def identity(value: Any) -> int | str | _Odd:
    """Return an id: a whole number, also one written as 7.0, or a text."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) in (int, str) else _Odd(shown(value))


def _floats(values: list[Any]) -> NDArray[np.float64]:
    """Return [n] float64; nan for what is no number, true and false among it."""
    if set(map(type, values)) <= {int, float}:
        try:
            return np.array(values, np.float64)
        except OverflowError:  # a whole number of more than 308 digits
            pass
    return np.array([_float(value) for value in values], np.float64)


def _float(value: Any) -> float:
    try:
        return float(value) if type(value) in (int, float) else np.nan
    except OverflowError:
        return np.inf


def to_corners(xywh: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
