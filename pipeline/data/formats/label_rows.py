"""Rows of label files, collected picture by picture until it is known which picture each belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import polars as pl

from ...findings import Finding, Severity
from ...sections import DataConfig
from ..raw import RAW_IMAGES_SCHEMA, ROWS_NAMED, RawDataset, raw_boxes, rejected_rows
from .class_lists import read_class_list
from .folder_listing import Listing
from .label_text import encoding_findings, printable, shown
from .shapes import NoShape, Shape

_UNUSABLE = "labels.picture_unusable"
_LIST_FILES = ("classes.txt", "labels.txt", "label_map.pbtxt")
_NOT_CLASSES = frozenset({"__ignore__", "_background_"})  # LabelMe's labels.txt begins with these two


@dataclass
class Entry:
    """One picture as a label file tells of it.

    Args:
        file: the label file, relative to the root.
        name: the picture's name or path as stated.
        width, height: as stated, or None.
        split: as stated, or None.
        listed: whether lists of the dataset decide on the split, be it none.
        path: the picture, relative to the root, once it is found.
        labelled: False where the file says that nobody has labelled it.
        unusable: why its labels cannot be used, which leaves the picture out; empty for most.
    """

    file: str
    name: str
    width: int | None = None
    height: int | None = None
    split: str | None = None
    listed: bool = False
    path: str | None = None
    labelled: bool = True
    unusable: str = ""


@dataclass
class LabelRows:
    """Entries, their rows, and what was wrong with whole files.

    Attributes:
        entries: one for each picture that the label files tell of.
        broken: files that could not be read: (file, line or 0, why).
        encodings: (file, encoding) of text files.
        read: rows met in the files, as the reader counts them.
    """

    entries: list[Entry] = field(default_factory=list)
    broken: list[tuple[str, int, str]] = field(default_factory=list)
    encodings: list[tuple[str, str]] = field(default_factory=list)
    read: int = 0
    _shapes: list[Shape] = field(default_factory=list)
    _owners: list[tuple[int, str]] = field(default_factory=list)  # entry and source of each shape
    _rejected: list[tuple[str, str, str, str]] = field(default_factory=list)
    _line: str = ""  # source of the last row
    _in_line: int = 0  # rows of that source

    def add(self, row: Shape | NoShape, source: str) -> None:
        """Add a row of the newest entry; of rows in one line, those behind the first are numbered."""
        self._in_line = self._in_line + 1 if source == self._line else 1
        self._line = source
        source = source if self._in_line == 1 else f"{source} #{self._in_line}"
        if isinstance(row, NoShape):
            self._rejected.append((row.id, printable(source), "dropped", shown(row.text)))
        else:
            self._shapes.append(row)
            self._owners.append((len(self.entries) - 1, printable(source)))

    def take(self, other: LabelRows) -> None:
        """Add the entries of another collection and their rows."""
        first = len(self.entries)
        self.entries.extend(other.entries)
        self.read += other.read
        self.encodings.extend(other.encodings)
        self._shapes.extend(other._shapes)
        self._owners.extend((first + entry, source) for entry, source in other._owners)
        self._rejected.extend(other._rejected)

    def class_names(self) -> list[str]:
        """Return the names of the classes that the rows have, sorted."""
        return sorted({shape.name for shape in self._shapes})

    def boxes_of(self) -> Counter[int]:
        """Return the number of boxes of each entry."""
        return Counter(entry for entry, _ in self._owners)

    def tables(self, names: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the boxes of entries whose picture is known, and the rejected rows, those of lost pictures included.

        Args:
            names: class names, among them all of `class_names`.
        """
        index = {name: float(number) for number, name in enumerate(names)}
        usable = [entry.path if not entry.unusable else None for entry in self.entries]
        paths = [usable[entry] for entry, _ in self._owners]
        corners = list(zip(*(shape.corners for shape in self._shapes), strict=True)) or [()] * 4
        table = raw_boxes(
            {
                "path": paths,
                "class_id": [index[shape.name] for shape in self._shapes],
                **dict(zip(("x1", "y1", "x2", "y2"), map(list, corners), strict=True)),
                "crowd": [shape.crowd for shape in self._shapes],
                "difficult": [shape.difficult for shape in self._shapes],
                "source": [source for _, source in self._owners],
                "notes": [shape.notes or None for shape in self._shapes],
                "text": [shown(shape.text) if shape.notes else None for shape in self._shapes],
            }
        )
        lost = [
            (_UNUSABLE, source, "dropped", shown(f"{shape.name} {' '.join(f'{v:g}' for v in shape.corners)}"))
            for path, shape, (_, source) in zip(paths, self._shapes, self._owners, strict=True)
            if path is None
        ]
        return table.filter(pl.col("path").is_not_null()), rejected_rows([*self._rejected, *lost])


def dataset_of(
    rows: LabelRows,
    listing: Listing,
    unlabelled: Collection[tuple[str, str | None]],
    findings: Sequence[Finding],
    settings: DataConfig,
    order: Sequence[str] = (),
) -> RawDataset:
    """Make a dataset of collected rows, in pixels.

    Args:
        rows: with the pictures of their entries found.
        listing: of the dataset's folder.
        unlabelled: (picture, split) of pictures that no label file tells of, and that count as empty.
        findings: that the reader has of its own.
        settings: section `data` of the configuration.
        order: class names as the label files list them; those that they lack come behind, sorted.
    """
    used = [entry for entry in rows.entries if entry.path is not None and not entry.unusable]
    images = pl.DataFrame(
        {
            "path": [*(entry.path for entry in used), *(path for path, _ in unlabelled)],
            "split": [*(entry.split for entry in used), *(split for _, split in unlabelled)],
            "width": [*(entry.width for entry in used), *(None for _ in unlabelled)],
            "height": [*(entry.height for entry in used), *(None for _ in unlabelled)],
        },
        schema=RAW_IMAGES_SCHEMA,
    )
    # Two files or tasks may tell of one picture; it is listed once in each split that they name.
    images = images.unique(["path", "split"], keep="first", maintain_order=True)
    found_names = rows.class_names()
    names, name_findings = listed_classes(listing, found_names) if not order else (list(order), list[Finding]())
    known = set(names)
    names += [name for name in found_names if name not in known]
    boxes, rejected = rows.tables(names)
    never = [*((e.path or "", e.split) for e in used if not e.labelled), *unlabelled]
    found = [
        *_broken(rows),
        *_odd_names(listing),
        *encoding_findings(rows.encodings),
        *_without_file(never, images, settings),
        *name_findings,
        *findings,
    ]
    return RawDataset(
        tuple(names), images, boxes, listing.root, rejected=rejected, findings=tuple(found), rows_read=rows.read
    )


def listed_classes(listing: Listing, used: Sequence[str]) -> tuple[list[str], list[Finding]]:
    """Return class names in the order of a list beside the labels where there is one, else sorted.

    A list is `classes.txt`, `labels.txt` or `label_map.pbtxt` in the upper two levels of the folder. It counts if it
    names at least one class that is used, or if none is; classes that it lacks come behind it.

    Args:
        listing: of the dataset's folder.
        used: names of the classes that rows have, sorted.
    """
    candidates = [file for file in listing.files if file.count("/") <= 1 and file.rpartition("/")[2] in _LIST_FILES]
    for file in sorted(candidates, key=lambda file: (file.count("/"), file)):
        content = read_class_list(str(listing.root / file))
        listed = list(dict.fromkeys(name for _, name in content.names if name not in _NOT_CLASSES))
        if set(listed) & set(used) or (listed and not used):
            known = set(listed)
            more = [name for name in used if name not in known]
            findings = encoding_findings([(file, content.encoding)])
            if more:
                message = f"{len(more)} of {len(used)} classes are not in {file}: {', '.join(more[:ROWS_NAMED])}"
                evidence = {"count": len(more), "classes": more[:ROWS_NAMED], "files": [file]}
                advice = "mend the list, or rename them with data.remap if they are slips of the keyboard"
                findings.append(Finding("names.not_listed", "warning", message, evidence, advice))
            return listed, findings
    return list(used), []


# ---- findings about files -------------------------------------------------------------------------------------------


def file_finding(id: str, severity: Severity, message: str, files: Sequence[str], advice: str) -> Finding:
    """Return a finding about whole files, which it counts and names."""
    return Finding(id, severity, message, {"count": len(files), "files": list(files[:ROWS_NAMED])}, advice)


def _broken(rows: LabelRows) -> list[Finding]:
    if not rows.broken:
        return []
    files = [f"{file}:{line}" if line else file for file, line, _ in rows.broken]
    message = (
        f"{len(files)} label files cannot be read and were left out with their pictures ({files[0]}: "
        f"{rows.broken[0][2]}); how many rows they have is not known, they are in no count"
    )
    return [file_finding("labels.file_broken", "warning", message, files, "export or mend them again")]


def _odd_names(listing: Listing) -> list[Finding]:
    if not listing.odd_names:
        return []
    message = f"the names of {len(listing.odd_names)} pictures or label files are not UTF-8 text"
    return [file_finding("images.name_encoding", "error", message, listing.odd_names, "rename them")]


def _without_file(never: Sequence[tuple[str, str | None]], images: pl.DataFrame, settings: DataConfig) -> list[Finding]:
    """Tell of pictures that nobody has labelled; too many in one split refuse the dataset."""
    if not never:
        return []
    total = Counter(images["split"])
    missing = Counter(split for _, split in set(never))
    shares = {split: count / total[split] for split, count in missing.items()}
    worst = max(shares, key=lambda split: shares[split])
    many = shares[worst] > settings.unlabelled
    count = len(set(never))
    message = f"{count} of {images.height} pictures were never labelled and count as empty"
    if many:
        where = f"of the split {worst}" if worst else "of the pictures"
        message = f"{message}; {shares[worst]:.0%} {where} is more than data.unlabelled={settings.unlabelled:g}"
    advice = "label them, or take them away; data.unlabelled=1 if they are meant to be empty"
    evidence = {"count": count, "pictures": sorted(path for path, _ in set(never))[:ROWS_NAMED]}
    return [Finding("labels.no_file", "error" if many else "warning", message, evidence, advice)]
