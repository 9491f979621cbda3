"""What the installed Ultralytics can be told, and which of its keys are ours to set.

Its `cfg/default.yaml` is read as text, so that nothing of Ultralytics is imported: that takes seconds and has side
effects. Every key of that file stands in exactly one of TRAIN_KEYS, AUGMENT_KEYS and NOT_OURS; a test holds this for
the installed version, so that a key which a new version brings is noticed.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .yaml_source import parse_scalar

TRAIN_KEYS = tuple(
    "epochs time patience batch imgsz cache device workers pretrained cls_remap optimizer seed deterministic "
    "rect cos_lr amp fraction freeze multi_scale compile channels_last save_period lr0 lrf momentum "
    "weight_decay warmup_epochs warmup_momentum warmup_bias_lr box cls cls_pw dfl nbs".split()
)
AUGMENT_KEYS = tuple(
    "hsv_h hsv_s hsv_v degrees translate scale shear perspective flipud fliplr bgr mosaic mixup cutmix "
    "close_mosaic".split()
)


def _each(names: str, reason: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


NOT_OURS: dict[str, str] = {  # why a key of Ultralytics cannot be set in train or augment, and what to do instead
    "task": "always detection",
    "single_cls": "merge the classes in the data instead, so that evaluation and report know of it",
    "mode": "chosen by the verb on the command line",
    "model": "set by the section model",
    "data": "set by the section data",
    "name": "set by name at the top level",
    "resume": "a run is continued by `tuneup train --resume RUN`, not by its configuration",
    "cfg": "build on a preset with base at the top level",
    "val": "always on, it chooses the checkpoint that is kept",
    "split": "see eval.split",
    "conf": "see eval.conf",
    "iou": "see eval.iou",
    "max_det": "see eval.max_det",
    "save_json": "evaluation always writes its own metrics.json",
    "save": "always on, a run without weights is of no use",
    "plots": "the program draws its own, see the section report",
    "verbose": "set by the program",
    "profile": "set by the program",
    "copy_paste": "Ultralytics' own has no effect on boxes without polygons; ours is a section of keys, in augment",
    "copy_paste_mode": "has no effect on boxes without polygons; see augment.copy_paste",
    "augment": "this is test-time augmentation; how training pictures are changed is set by the section augment",
    "classes": "the classes are those of the data set; leave one out there",
    "half": "see train.amp",
    "label_smoothing": "no longer known to Ultralytics",
    "dropout": "only for classification",
    "auto_augment": "only for classification",
    "erasing": "only for classification",
    "angle": "only for oriented boxes",
    **_each("project save_dir exist_ok", "run folders are made in the folder runs, see runs at the top level"),
    **_each("distill_model dis", "distillation is not supported"),
    **_each("overlap_mask mask_ratio retina_masks", "only for segmentation"),
    **_each("pose kobj rle", "only for poses"),
    **_each("dlog dgrad dlam", "only for depth"),
    **_each("source vid_stride stream_buffer visualize embed agnostic_nms", "only for prediction"),
    **_each(
        "show save_frames save_txt save_conf save_crop show_labels show_conf show_boxes line_width", "only for display"
    ),
    **_each("format optimize dynamic simplify opset workspace quantize nms dnn int8", "only for export"),
    "tracker": "only for tracking",
}


@dataclass(frozen=True)
class KnownKey:
    """One line of Ultralytics' default.yaml: `name: default # (types) description`."""

    name: str
    default: Any
    types: tuple[str, ...]
    optional: bool
    description: str

    @property
    def type_text(self) -> str:
        """What may be set, in short: `int`, `float | null`, `true | false | ram`."""
        if self.name in _CHOICES:
            return " | ".join(_spell(option) for option in _CHOICES[self.name])
        types = (_SPECIAL[self.name][2],) if self.name in _SPECIAL else self.types
        return " | ".join([*types, "null"] if self.optional else types)


@cache
def known_keys() -> dict[str, KnownKey]:
    """Return every key of the installed Ultralytics' default.yaml, in its order.

    Raises ConfigError where Ultralytics is not installed.
    """
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(["Ultralytics is not installed in this Python; `make setup` installs what is needed"])
    path = Path(spec.submodule_search_locations[0], "cfg", "default.yaml")
    return parse_defaults(path.read_text(encoding="utf-8"))


@cache
def ultralytics_version() -> str:
    """Return the installed version without importing Ultralytics."""
    import importlib.metadata  # costs as much as all the rest of this module

    return importlib.metadata.version("ultralytics")


_LINE = re.compile(
    r"^(?P<name>\w+):[ \t]*(?P<default>[^#\n]*?)[ \t]*# \((?P<types>[^)]*)\)[ \t]*(?P<text>.*)$", re.MULTILINE
)


def parse_defaults(text: str) -> dict[str, KnownKey]:
    """Return the keys that the text of a default.yaml lists."""
    keys = {}
    for line in _LINE.finditer(text):
        types = [part.strip() for part in re.split(r"[|,]", line["types"])]
        default = parse_scalar(line["default"])
        optional = "optional" in types or default is None
        types = [part for part in types if part != "optional"]
        keys[line["name"]] = KnownKey(line["name"], default, tuple(types), optional, line["text"].strip())
    return keys


def check_value(name: str, value: Any) -> Any:
    """Return the value for the key of TRAIN_KEYS or AUGMENT_KEYS, in its usual spelling.

    Raises ValueError with what was expected; these are Ultralytics' own limits, found here before anything is loaded,
    and a few more where it would take a value that makes no sense.
    """
    key = known_keys()[name]
    value = list(value) if isinstance(value, tuple) else value  # `scale=(0.5, 1.5)` from Python
    if value is None and key.optional:
        return None
    if name in _CHOICES:
        return _choose(value, _CHOICES[name])
    if name in _SPECIAL:
        accepts, expected, _ = _SPECIAL[name]
        if accepts(value):
            return value
    else:
        low, high = limits(name)
        if any(_has_type(value, kind) for kind in key.types) and _within(value, low, high):
            return value
        expected = _expected(key.types, low, high)
    raise ValueError(f"should be {expected}{', or null' if key.optional else ''}")


FRACTION_KEYS = frozenset(  # Ultralytics' CFG_FRACTION_KEYS, without those that have a rule of their own
    "lr0 lrf cls_pw momentum weight_decay warmup_momentum warmup_bias_lr multi_scale hsv_h hsv_s hsv_v translate "
    "perspective flipud fliplr bgr mosaic mixup cutmix".split()
)
_LOWEST = {"epochs": 1, "nbs": 1, "save_period": -1}  # all other amounts start at 0
_HIGHEST = {"degrees": 180, "shear": 89}  # a shear of 90 degrees has no picture left


def limits(name: str) -> tuple[float, float]:
    """Return the smallest and the largest number that the key may have."""
    return (0, 1) if name in FRACTION_KEYS else (_LOWEST.get(name, 0), _HIGHEST.get(name, math.inf))


def _is_int(value: Any) -> bool:
    return type(value) is int  # a bool is an int to Python, not to a person


def _is_number(value: Any) -> bool:
    return _is_int(value) or (type(value) is float and math.isfinite(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


_IS: dict[str, tuple[Callable[[Any], bool], str]] = {  # how Ultralytics' comments call the types
    "int": (_is_int, "a whole number"),
    "float": (_is_number, "a number"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "str": (_is_text, "text"),
}


def _has_type(value: Any, kind: str) -> bool:
    return kind in _IS and _IS[kind][0](value)


def _within(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (bool, str)) or low <= value <= high


def _expected(types: Sequence[str], low: float, high: float) -> str:
    text = " or ".join(_IS[kind][1] for kind in types if kind in _IS)
    if "number" not in text:
        return text
    return f"{text} from {low:g}" + ("" if math.isinf(high) else f" to {high:g}")


_CHOICES: dict[str, tuple[bool | str, ...]] = {
    "optimizer": ("auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop"),
    "amp": (True, False, "fp16", "bf16", "fp32"),
    "cache": (False, True, "ram"),  # "disk" would write .npy files beside the user's own pictures
    "compile": (True, False, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
}


def _spell(option: bool | str) -> str:
    return str(option).lower() if isinstance(option, bool) else option


def _choose(value: Any, options: tuple[bool | str, ...]) -> bool | str:
    for option in options:
        if isinstance(value, str) and isinstance(option, str) and value.lower() == option.lower():
            return option
        if isinstance(option, bool) and value is option:  # true and false; not 1 and 0
            return option
    names = map(_spell, options)
    why = " (disk would write files beside your pictures)" if value == "disk" else ""
    raise ValueError(f"should be one of {', '.join(names)}{why}")


def _is_batch(value: Any) -> bool:
    return value == -1 or value >= 1 if _is_int(value) else _is_number(value) and 0 < value < 1


def _is_fraction(value: Any) -> bool:
    return value >= 1 if _is_int(value) else _is_number(value) and 0 < value <= 1


def _is_scale(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) == 2 and all(map(_is_number, value)) and 0 < value[0] <= value[1]
    return _is_number(value) and 0 <= value <= 1


def _is_freeze(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_text(item) or (_is_int(item) and item >= 0) for item in value)
    return _is_int(value) and bool(value >= 0)


def _is_device(value: Any) -> bool:
    items = value if isinstance(value, list) and value else [value]
    return all(_is_text(item) or (_is_int(item) and item >= -1) for item in items)


_SPECIAL: dict[str, tuple[Callable[[Any], bool], str, str]] = {  # accepts, what is expected, the same in short
    "time": (lambda value: _is_number(value) and value > 0, "a number of hours above 0", "float"),
    "imgsz": (
        lambda value: _is_int(value) and value >= 32,
        "a single whole number from 32; training pictures are square",
        "int",
    ),
    "batch": (
        _is_batch,
        "a whole number from 1, -1 (what fits the GPU), or a share of its memory between 0 and 1",
        "int | float",
    ),
    "fraction": (
        # Ultralytics also takes a list, which thins out val and test as well: numbers from a part of them are no proof.
        _is_fraction,
        "a share of the training pictures above 0 up to 1, or a whole number of pictures",
        "float | int",
    ),
    "scale": (
        _is_scale,
        "a number from 0 to 1, or a list of the smallest and the largest factor",
        "float | list",
    ),
    "freeze": (
        _is_freeze,
        "a whole number of layers from 0, or a list of layer numbers or names",
        "int | list",
    ),
    "device": (
        _is_device,
        "cpu, mps, a GPU number, or a list of GPU numbers such as [0,1]",
        "int | str | list",
    ),
}
