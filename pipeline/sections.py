"""The sections of the configuration: every key with its type, its limits, its default and what it means.

Paths in a configuration are relative to the working folder, as on a command line.
"""

from __future__ import annotations

import re
import types
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from .known_keys import TRAIN_KEYS, KnownKey, known_keys, ultralytics_version
from .policy import Policy, rising, to_list_of_two
from .section import KnownSection, Section, known_section
from .yaml_source import dump_yaml


def _to_path(value: Any) -> Path:
    if isinstance(value, bool) or not isinstance(value, (str, int, Path)) or value == "":
        raise ValueError("should be a path")  # an int is fine: a folder may be called 2024
    try:
        return Path(str(value)).expanduser()
    except RuntimeError:  # ~name of a user who does not exist
        raise ValueError("should be a path; there is no such home folder") from None


def _to_group(value: Any) -> Any:
    if value is None:
        return "none"  # `group=none` on the command line
    if not isinstance(value, str) or value in ("none", "folder", "duplicates") or re.fullmatch(r"column:\w+", value):
        return value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a strange but valid expression
            groups = re.compile(value).groups
    except (re.error, OverflowError, RecursionError):
        groups = 0
    if groups != 1:
        raise ValueError(
            "should be none, folder, duplicates, column:NAME, or a regular expression with one group, such as "
            r"'(board\d+)_'"
        )
    return value


def _to_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value  # `keep=pit` on the command line


def _to_name(value: Any) -> Any:
    value = str(value) if type(value) is int else value
    if isinstance(value, str) and (value.strip(". ") == "" or re.search(r"[/\\:\0]", value)):
        raise ValueError("should be a plain folder name, without a path")
    return value


AnyPath = Annotated[Path, BeforeValidator(_to_path)]


class DataConfig(Section):
    """Where the pictures are and how they are divided."""

    path: AnyPath | None = Field(default=None, description="folder or file with pictures and labels")
    format: Literal["auto", "yolo", "coco", "voc", "labelme", "cvat", "label_studio"] = Field(
        default="auto", description="how the labels are written; auto looks"
    )
    coordinates: Literal["fractions", "pixels"] = Field(
        default="fractions", description="what the numbers in YOLO label files are; pixels for files that went wrong"
    )
    first_class: int = Field(default=0, ge=0, le=1, description="number of the first class in YOLO label files")
    voc_offset: int = Field(
        default=0, ge=0, le=1, description="pixels taken from VOC corners; 1 where the first pixel has number 1"
    )
    unlabelled: float = Field(
        default=0.5, ge=0, le=1, description="largest share of a split that may be without label file; 1 allows all"
    )
    remap: dict[str, str | None] = Field(
        default={}, description="classes renamed or merged, old: new; a class without a new name is left out"
    )
    keep: Annotated[list[str], BeforeValidator(_to_list)] = Field(
        default=[], description="classes to keep, by their names after remap; none named: all"
    )
    splits: Literal["keep", "repair", "new"] = Field(
        default="keep",
        description="keep: as the data has them; repair: groups that cross splits go whole to one; new: divided anew",
    )
    val_fraction: float = Field(
        default=0.15, ge=0, le=0.5, description="share that is used for val where there is no val split"
    )
    test_fraction: float | None = Field(
        default=None,
        ge=0,
        le=0.5,
        description="share for test when splits are divided anew; null: as in the data",
    )
    group: Annotated[str, BeforeValidator(_to_group)] = Field(
        default="none",
        description="pictures never separated by the split: none, folder (those of one folder), duplicates (those "
        "that look alike), column:NAME (of images.csv), or a regular expression whose one group, found in the "
        "picture's relative path, is the key",
    )
    seed: int = Field(default=0, ge=0, description="decides which pictures go to which split")


class ModelConfig(Section):
    """Which network to start from."""

    name: str = Field(
        default="yolo26n.pt", min_length=1, description="checkpoint (.pt) or architecture (.yaml, random weights)"
    )
    weights: AnyPath = Field(
        default=Path("weights"), description="folder in which weights are looked for before any download"
    )


class TrainConfig(known_section(TRAIN_KEYS)):  # type: ignore[misc]
    """How the network is trained."""


class MonitorConfig(Section):
    """What the gradient monitor does."""

    clip: float = Field(
        default=10.0, gt=0, description="largest total gradient norm of a step; 10 is the value fixed in Ultralytics"
    )
    skips: int = Field(
        default=10, ge=1, description="so many optimiser steps in a row that are not finite stop the training"
    )
    preflight: float = Field(
        default=30.0, ge=0, description="seconds that checks before the training may take; 0 starts without them"
    )
    loggers: list[Literal["clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb"]] = Field(
        default=[], description="Ultralytics' own integrations to switch on; each needs its package"
    )


class ContractConfig(Section):
    """What the augmentation must leave intact; measured on training pictures before a training begins."""

    pictures: int = Field(default=24, ge=4, description="number of training pictures that are looked at")
    survival: float = Field(
        # Of small objects that lie anywhere, Ultralytics' own scale=0.5 leaves 0.83 in the picture.
        default=0.8,
        ge=0,
        le=1,
        description="smallest share of a class's boxes that may come through",
    )
    inflation: float = Field(
        default=1.25, ge=1, description="largest median growth of a box against the object that it encloses"
    )
    contrast: Annotated[list[float], BeforeValidator(to_list_of_two), AfterValidator(rising)] = Field(
        default=[0.5, 2.0], description="range of object contrast after / before, median of a class"
    )
    hidden: float = Field(
        # Shipped policies hide 0 to 0.03 on four data sets, holes over half of a picture 0.07 to 0.3.
        default=0.03,
        ge=0,
        le=1,
        description="largest share of a class's boxes whose object cannot be made out any more",
    )
    noise: float = Field(default=1.0, ge=0, description="largest noise, as a multiple of an object's contrast")
    smallest: float = Field(
        # Half the finest stride, 8 px: a shorter box can lie between all the points that predict.
        default=4.0,
        ge=0,
        description="px of the network's input; boxes should not be made smaller",
    )
    shift: float = Field(default=40.0, ge=0, description="largest shift of the mean, in grey levels of 255")
    deviation: Annotated[list[float], BeforeValidator(to_list_of_two), AfterValidator(rising)] = Field(
        default=[0.4, 2.5], description="range of the pictures' deviation after / before"
    )
    clipped: float = Field(default=0.25, ge=0, le=1, description="largest share of pixels driven to black or white")
    loading: float = Field(
        default=1.0, gt=0, description="largest time for loading a batch, as a multiple of the training step"
    )


class EvalConfig(Section):
    """How the trained network is measured."""

    split: Literal["auto", "train", "val", "test"] = Field(
        default="auto", description="auto: test if there is one, else val"
    )
    conf: float = Field(default=0.001, ge=0, le=1, description="detections below this confidence are not looked at")
    iou: float = Field(
        default=0.7, ge=0, le=1, description="overlap above which non-maximum suppression drops a detection"
    )
    max_det: int = Field(default=300, ge=1, description="largest number of detections per picture")
    batch: int = Field(default=16, ge=1, description="pictures predicted at once")
    head: Literal["auto", "nms", "end2end"] = Field(
        default="auto", description="end2end: the head without non-maximum suppression; auto: as Ultralytics ships it"
    )
    half: bool = Field(default=False, description="half precision, on a GPU")
    tile: int | None = Field(
        default=None, ge=32, description="large pictures are predicted in tiles of so many pixels; null: whole"
    )
    overlap: float = Field(default=0.2, gt=0, le=0.9, description="share of a tile that its neighbours see as well")
    latency: int = Field(default=0, ge=0, description="so many pictures are timed one by one afterwards; 0: none")
    corruptions: bool = Field(
        default=False, description="measure again under blur, defocus, noise, exposure and JPEG, in 30 more passes"
    )
    limit: int = Field(
        default=100, ge=1, description="detections per picture and class that count; COCO's 100, more for dense crops"
    )
    escape_rate: float | None = Field(
        default=None, gt=0, lt=1, description="thresholds let at most this share of defective pictures pass"
    )
    escape_cost: float | None = Field(
        default=None, gt=0, description="thresholds weigh a defective picture that passes as so many good ones rejected"
    )
    resamples: int = Field(default=1000, ge=100, description="resamples of the pictures behind every interval")


class ReportConfig(Section):
    """What report.html shows."""

    samples: int = Field(default=12, ge=0, description="number of pictures shown")
    every: int = Field(default=1, ge=1, description="epochs between two versions of report.html during training")


class Config(Section):
    """A complete configuration. `Config()` has all defaults; files and overrides come through `load_config`."""

    name: Annotated[str | None, BeforeValidator(_to_name)] = Field(
        default=None, description="name of the run's folder; null makes one up"
    )
    runs: AnyPath = Field(default=Path("runs"), description="folder for the run folders")
    data: DataConfig = Field(default=DataConfig(), description="path, or a section of keys")
    model: ModelConfig = Field(default=ModelConfig(), description="name, or a section of keys")
    train: TrainConfig = Field(default=TrainConfig(), description="how the network is trained")
    augment: Policy = Field(default=Policy(), description="name or path of a policy, or a section of keys")
    monitor: MonitorConfig = Field(default=MonitorConfig(), description="what the gradient monitor does")
    contract: ContractConfig = Field(default=ContractConfig(), description="what the augmentation must leave intact")
    eval: EvalConfig = Field(default=EvalConfig(), description="how the trained network is measured")
    report: ReportConfig = Field(default=ReportConfig(), description="what report.html shows")

    def to_dict(self) -> dict[str, Any]:
        """Return all keys with their effective values, fit for JSON and for `config_from_dict`."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the complete configuration as a file that loads to an equal one."""
        return f"# All values, as resolved for ultralytics {ultralytics_version()}.\n{dump_yaml(self.to_dict())}"


SECTIONS: dict[str, type[Section]] = {
    name: info.annotation
    for name, info in Config.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}


@dataclass(frozen=True)
class ExplainRow:
    """One key of the configuration: what it takes, its default, what it means, and who defines it."""

    key: str
    type: str
    default: str
    description: str
    defined_by: str

    def to_dict(self) -> dict[str, str]:
        """Return the row fit for JSON."""
        return asdict(self)


def explain() -> list[ExplainRow]:
    """Return every key that a configuration may have, in the order of the file."""
    base = "preset or presets that the file builds on, relative to the file; what comes later wins"
    rows = [ExplainRow("base", "path | list", "null", base, "tuneup")]
    for name, info in Config.model_fields.items():
        if name not in SECTIONS:
            rows.append(_explain_key(name, info))
            continue
        known = known_keys() if issubclass(SECTIONS[name], KnownSection) else {}
        for key, key_info in SECTIONS[name].model_fields.items():
            rows.append(_explain_key(f"{name}.{key}", key_info, known.get(key)))
    return rows


def _explain_key(dotted: str, info: FieldInfo, known: KnownKey | None = None) -> ExplainRow:
    if known is None:
        takes, owner = _type_text(info.annotation), "tuneup"
    else:
        takes, owner = known.type_text, f"ultralytics {ultralytics_version()}"
    return ExplainRow(dotted, takes, spell(info.default), info.description or "", owner)


def _type_text(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _type_text(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return " | ".join(get_args(annotation))
    if get_args(annotation):
        return " | ".join(_type_text(part) for part in get_args(annotation))
    return {Path: "path", types.NoneType: "null"}.get(annotation) or str(getattr(annotation, "__name__", annotation))


def spell(value: Any) -> str:
    """Return the value as one would type it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
