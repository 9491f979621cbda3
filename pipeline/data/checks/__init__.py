"""The checks of the audit, by subject. Each is a pure function of a `Snapshot` and returns findings."""

from __future__ import annotations

from collections.abc import Callable

from ...findings import Finding
from . import (
    boxes,
    class_looks,
    classes,
    effective,
    forgotten,
    labelled,
    leaks,
    looks,
    overlaps,
    pictures,
    pixels,
    splits,
)
from .figures import figures_of
from .snapshot import Snapshot, take_snapshot

Check = Callable[[Snapshot], list[Finding]]

# In the order in which findings of one severity are shown: what spoils the result most comes first.
CHECKS: tuple[Check, ...] = (
    labelled.nothing_labelled,
    pixels.not_decoded,
    looks.not_on_objects,
    class_looks.classes_differ,
    class_looks.classes_not_learnable,
    leaks.leak_identical,
    leaks.leak_alike,
    classes.missing_classes,
    effective.too_small_to_train,
    effective.too_thin_to_train,
    classes.names_alike,
    overlaps.near_duplicate,
    overlaps.two_classes,
    leaks.labels_of_copies,
    boxes.covers_picture,
    boxes.at_border,
    boxes.same_size,
    forgotten.suspiciously_empty,
    forgotten.forgotten_class,
    pixels.blank,
    splits.too_small,
    classes.rare_classes,
    classes.few_measured,
    splits.classes_differ,
    splits.looks_differ,
    classes.balance,
    pictures.turned,
    pictures.huge,
    pictures.much_reduced,
    pictures.background,
    effective.below_one_cell,
    boxes.unusual_size,
    boxes.unusual_shape,
    pictures.odd_sizes,
    pictures.enlarged,
    pictures.modes,
    pictures.several_pages,
    pixels.brightness,
    pixels.blurred,
    leaks.copies,
    leaks.alike,
    leaks.not_compared,
)

__all__ = ["CHECKS", "Check", "Snapshot", "figures_of", "take_snapshot"]
