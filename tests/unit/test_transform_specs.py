"""Transforms as plain values: what is accepted, what is refused and in which words, what is read back from objects."""

from __future__ import annotations

import re
import subprocess
import sys
from enum import IntEnum
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
from albumentations.augmentations.dropout.transforms import BaseDropout
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import transform_specs
from pipeline.errors import ConfigError
from pipeline.known_keys import AUGMENT_KEYS
from pipeline.transform_list import TRANSFORMS
from pipeline.transform_specs import (
    build_transforms,
    check_transform,
    check_transforms,
    spec_of,
    transform_problems,
)
from pipeline.yaml_source import read_yaml


class OwnNoise(A.ImageOnlyTransform):
    """A transform that a person wrote."""

    def apply(self, img: Any, **params: Any) -> Any:
        return img


class GaussNoise(A.GaussNoise):
    """Own code under a name that is allowed."""


class Kind(IntEnum):
    CUBIC = cv2.INTER_CUBIC


# ---- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "spec"),
    [
        ("GaussNoise", {"GaussNoise": {"p": 0.5}}),
        ({"GaussNoise": None}, {"GaussNoise": {"p": 0.5}}),
        ({"GaussNoise": {}}, {"GaussNoise": {"p": 0.5}}),
        ("RandomRotate90", {"RandomRotate90": {"p": 1}}),  # the library's default of this one
        ({"Rotate": {"limit": 45, "p": 0}}, {"Rotate": {"limit": 45, "p": 0}}),
        ({"Rotate": {"limit": (-5, 10), "p": 1}}, {"Rotate": {"limit": [-5, 10], "p": 1}}),
        ({"Rotate": {"limit": np.float32(2.5), "p": np.float64(0.25)}}, {"Rotate": {"limit": 2.5, "p": 0.25}}),
        ({"Rotate": {"interpolation": Kind.CUBIC}}, {"Rotate": {"interpolation": 2, "p": 0.5}}),
        ({"Rotate": {"crop_border": False}}, {"Rotate": {"crop_border": False, "p": 0.5}}),
        (
            {"Downscale": {"interpolation_pair": {"upscale": 1, "downscale": 3}}},
            {"Downscale": {"interpolation_pair": {"upscale": 1, "downscale": 3}, "p": 0.5}},
        ),
        (A.GaussNoise(std_range=(0.1, 0.2), p=1), {"GaussNoise": {"std_range": [0.1, 0.2], "p": 1.0}}),
        (A.Rotate(limit=10), {"Rotate": {"limit": [-10.0, 10.0], "p": 0.5}}),
        (A.HorizontalFlip(), {"HorizontalFlip": {"p": 0.5}}),
        (A.Equalize(), {"Equalize": {"p": 0.5}}),
    ],
)
def test_an_item_becomes_a_spec(item: Any, spec: dict[str, Any]) -> None:
    assert check_transform(item) == spec
    assert check_transforms([item, "Blur"]) == [spec, {"Blur": {"p": 0.5}}]
    built = build_transforms([spec])[0]
    assert type(built).__name__ == next(iter(spec))
    assert built.p == next(iter(spec.values()))["p"]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.sampled_from(sorted(name for name in TRANSFORMS if name not in ("GridElasticDeform", "CropAndPad"))).flatmap(
            lambda name: st.floats(0, 1).map(lambda p: {name: {"p": p}})
        ),
        max_size=5,
    )
)
def test_checking_a_checked_list_changes_nothing(items: list[dict[str, dict[str, Any]]]) -> None:
    specs = check_transforms(items)
    assert specs == items
    assert check_transforms(specs) == specs
    assert [spec_of(transform) for transform in build_transforms(specs)] == specs


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("GausNoise", "GausNoise: unknown transform; did you mean GaussNoise?"),
        ("gaussnoise", "gaussnoise: unknown transform; did you mean GaussNoise?"),
        ("JpegCompression", "JpegCompression: unknown transform; did you mean ImageCompression?"),
        ("Xyzzy", "Xyzzy: unknown transform; Albumentations has none of this name"),
        ("os.system", "os.system: unknown transform; Albumentations has none of this name"),
        ("mosaic", "mosaic: cannot be used: it needs other pictures; use the policy's own mosaic"),
        (
            {"GaussNoise": {"std": 1}},
            "GaussNoise: unknown parameter std; did you mean std_range? It has std_range, mean_r",
        ),
        ({"Rotate": {"xyz": 1}}, "Rotate: unknown parameter xyz; it has limit, interpolation, border_mode, "),
        ({"Rotate": {3: 1}}, "Rotate: unknown parameter 3; it has limit, "),
        ({"Rotate": {"always_apply": True}}, "Rotate: unknown parameter always_apply; it has limit, "),
        ({"GaussNoise": {"p": 1.5}}, "GaussNoise: p: should be a number from 0 to 1, found 1.5"),
        ({"GaussNoise": {"p": True}}, "GaussNoise: p: should be a number from 0 to 1, found True"),
        ({"GaussNoise": {"p": "0.5"}}, "GaussNoise: p: should be a number from 0 to 1, found '0.5'"),
        ({"GaussNoise": {"p": float("nan")}}, "GaussNoise: p: should be a finite number, found nan"),
        ({"Rotate": {"limit": [0, float("inf")]}}, "Rotate: limit: should be a finite number, found inf"),
        ({"Rotate": {"limit": "wide"}}, "Rotate: limit: should be a list or a number, found 'wide'"),
        ({"Rotate": {"limit": [1, 2, 3]}}, "Rotate: limit: should be a list of 2 or a number, found [1, 2, 3]"),
        ({"GaussNoise": {"std_range": 0.3}}, "GaussNoise: std_range: should be a list, found 0.3"),
        ({"GaussNoise": {"std_range": [0.1, "x"]}}, "GaussNoise: std_range: should be a number, found 'x'"),
        (
            {"GaussNoise": {"std_range": [0.1, 2]}},
            "GaussNoise: std_range: All values in (0.1, 2.0) must be >= 0 and <= 1",
        ),
        ({"GaussNoise": {"per_channel": 7}}, "GaussNoise: per_channel: should be true or false, found 7"),
        ({"Blur": {"blur_limit": 4}}, "Blur: blur_limit: Non-zero kernel sizes must be odd"),
        ("GridElasticDeform", "GridElasticDeform: num_grid_xy is missing; GridElasticDeform: magnitude is missing"),
        ("CropAndPad", "CropAndPad: Both px and percent parameters cannot be None"),
        (
            {"AdditiveNoise": {"noise_params": {"foo": 1}}},
            "AdditiveNoise: ranges is missing; AdditiveNoise: foo is unknown",
        ),
        ({"Rotate": {"crop_border": True}}, "Rotate: crop_border: cannot be set: it cuts the picture"),
        ({"Perspective": {"keep_size": False}}, "Perspective: keep_size: cannot be set: all pictures of a batch"),
        ({"Affine": {"fit_output": True}}, "Affine: fit_output: cannot be set: it changes the size"),
        ({"ToGray": {"num_output_channels": 1}}, "ToGray: num_output_channels: cannot be set: the network takes"),
        ({"Equalize": {"mask": [[1]]}}, "Equalize: mask: cannot be set: a mask belongs to one picture"),
        ({"GaussNoise": 0.3}, "GaussNoise: its parameters should be `key: value` lines, found 0.3"),
        (
            {"GaussNoise": None, "p": 0.3},
            "should be one transform with its parameters indented below it, found ['Gauss",
        ),
        ({}, "should be one transform with its parameters indented below it, found []"),
        ({1: {}}, "should be the name of a transform, found 1"),
        (5, "should be the name of a transform, or a name with its parameters, found 5"),
        (None, "should be the name of a transform, or a name with its parameters, found nothing"),
        ([A.Blur()], "should be the name of a transform, or a name with its parameters, found [Blur("),
        (A.Normalize(), "Normalize: cannot be used: it gives decimal numbers"),
        (A.RandomCrop(8, 8), "RandomCrop: cannot be used: it changes the size of the picture"),
        (A.Lambda(name="mine", image=print), "Lambda: cannot be used: it holds code"),
        (A.OneOf([A.Blur()]), "OneOf: cannot be used: lists cannot be nested"),
        (A.Equalize(mask=np.ones((3, 3))), "Equalize: mask: a value of type ndarray cannot be written down"),
        (OwnNoise(), "OwnNoise: not a transform of Albumentations; own code cannot be saved with the run"),
        (GaussNoise(), "GaussNoise: not a transform of Albumentations; own code cannot be saved with the run"),
        (BaseDropout(0, None, 1), "BaseDropout: not a transform of Albumentations"),
        (print, "builtin_function_or_method: not a transform of Albumentations"),
    ],
)
def test_an_item_is_refused_in_plain_words(item: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
        check_transform(item)
    with pytest.raises(ValueError, match=r"^transforms\[1\] "):
        build_transforms(["Blur", item])


def test_all_problems_are_told_at_once_with_their_position() -> None:
    items = ["Blur", {"GaussNoise": {"std": 1, "p": 2}}, "ToFloat"]
    problems = transform_problems(items)
    assert [position for position, _ in problems] == [1, 1, 2]
    with pytest.raises(ValueError, match="ToFloat") as caught:
        check_transforms(items)
    lines = str(caught.value).splitlines()
    assert lines == [f"transforms[{position}] {text}" for position, text in problems]
    assert lines[1] == "transforms[1] GaussNoise: p: should be a number from 0 to 1, found 2"


@pytest.mark.parametrize("value", ["Blur", {"Blur": {}}, None, 3, A.Compose([A.Blur()])])
def test_the_list_itself_is_checked(value: Any) -> None:
    assert [position for position, _ in transform_problems(value)] == [-1]
    with pytest.raises(ValueError, match=r"^transforms should be a list of transforms, found "):
        check_transforms(value)


def test_an_object_that_was_changed_afterwards_is_not_taken_for_another() -> None:
    transform = A.Blur(blur_limit=(3, 5))
    transform.blur_limit = (4, 6)
    with pytest.raises(ValueError, match="Blur: blur_limit"):
        spec_of(transform)
    transform = A.PlanckianJitter()
    transform.temperature_limit = None
    with pytest.raises(ValueError, match="PlanckianJitter: its parameters cannot be read back from it"):
        spec_of(transform)


# ---- what is loaded --------------------------------------------------------------------------------------------------


def test_names_alone_and_an_empty_list_do_not_load_albumentations() -> None:
    code = (
        "import sys; from pipeline.transform_specs import *; check_transforms([]); build_transforms([]);"
        "transform_problems(['Normalize', 'Nothing', 5]); assert 'albumentations' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_nothing_outside_the_table_is_built() -> None:
    with pytest.raises(ValueError, match="not a transform that a policy may name"):
        transform_specs._build("from_dict", {})


# ---- the policies that come with the program -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "metal", "pcb", "fabric", "aerial", "leaf"])
def test_a_shipped_policy_is_gentle(name: str) -> None:
    """One or two of its four to seven transforms act on a picture; none.yaml has none."""
    document = read_yaml(ROOT / "configs" / "augment" / f"{name}.yaml", ConfigError)
    specs = check_transforms(document.value["transforms"])
    acting = sum(parameters["p"] for spec in specs for parameters in spec.values())
    assert (len(specs), acting) == (0, 0) if name == "none" else 4 <= len(specs) <= 7 and 0.8 <= acting <= 2
    # Every knob is said: what a policy leaves out would be Ultralytics' default, such as a mosaic on every picture.
    assert set(AUGMENT_KEYS) <= set(document.value)
