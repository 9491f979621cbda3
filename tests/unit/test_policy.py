"""Policies: files, names, inline keys, objects from Python; what they do, and what they are without one entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import albumentations as A
import pytest
import yaml

from pipeline.config import Configurable, config_from_dict, load_config, settle
from pipeline.errors import ConfigError
from pipeline.policy import CopyPaste, Policy, entries

TEXT = (
    "mosaic: 0.5\nfliplr: 0.5\ntransforms:\n  - GaussNoise: {p: 0.3}\n  - Rotate: {limit: 5, p: 0.2}\n  - GaussNoise\n"
)


def _unchanged(image: Any, **_: Any) -> Any:
    return image


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "augment").mkdir(parents=True)
    (tmp_path / "configs" / "augment" / "mine.yaml").write_text(TEXT)
    return tmp_path


def problems(source: Configurable, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settle(source, overrides)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    "how", ["augment=mine", "augment=configs/augment/mine.yaml", "augment.policy=mine"], ids=["name", "path", "key"]
)
def test_a_policy_is_found_by_name_and_by_path(folder: Path, how: str) -> None:
    policy = load_config(None, [how]).augment
    assert policy.name == "mine"
    assert (policy.mosaic, policy.fliplr) == (0.5, 0.5)
    assert [next(iter(spec)) for spec in policy.transforms] == ["GaussNoise", "Rotate", "GaussNoise"]
    assert policy.transforms[1] == {"Rotate": {"limit": 5, "p": 0.2}}


def test_a_policy_replaces_the_stage_and_what_comes_later_wins(folder: Path) -> None:
    (folder / "run.yaml").write_text("augment:\n  policy: mine\n  fliplr: 0.1\n  degrees: 3\n")
    policy = load_config(folder / "run.yaml", ["mosaic=0.25"]).augment
    assert (policy.fliplr, policy.degrees, policy.mosaic, policy.name) == (0.1, 3, 0.25, "mine-changed")
    (folder / "low.yaml").write_text("augment: {degrees: 45}\n")
    (folder / "top.yaml").write_text("base: low.yaml\naugment: mine\n")
    assert load_config(folder / "top.yaml").augment.degrees == Policy().degrees
    assert load_config(folder / "low.yaml", ["augment=mine"]).augment.degrees == Policy().degrees


def test_a_policy_beside_the_configuration_is_found_from_anywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "configs" / "run.yaml").write_text("augment: mine\n")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert load_config(folder / "configs" / "run.yaml").augment.name == "mine"


def test_none_switches_everything_off(folder: Path) -> None:
    for text in ("augment=none", "augment=null"):
        assert entries(load_config(None, [text]).augment) == ()


def test_mistakes_in_a_policy_are_told_with_their_line(folder: Path) -> None:
    file = folder / "configs" / "augment" / "wrong.yaml"
    file.write_text(
        "mosiac: 0.5\ntransforms:\n  - GausNoise\n  - Rotate: {limits: 5}\n  - Normalize\n"
        "copy_paste:\n  qutas: {pit: 0.2}\n  scale: [2, 1]\n"
    )
    told = problems(None, "augment=wrong")
    starts = [
        f"{file}:1: augment.mosiac: unknown key; did you mean augment.mosaic?",
        f"{file}:3: augment.transforms[0] GausNoise: unknown transform; did you mean GaussNoise?",
        f"{file}:4: augment.transforms[1] Rotate: unknown parameter limits; did you mean limit?",
        f"{file}:5: augment.transforms[2] Normalize: cannot be used",
        f"{file}:7: augment.copy_paste.qutas: unknown key; did you mean quotas?",
        f"{file}:8: augment.copy_paste.scale: should be a list of the smallest and the largest factor",
    ]
    assert [text[: len(start)] for text, start in zip(told, starts, strict=True)] == starts


def test_a_policy_that_is_not_there_names_those_that_are(folder: Path) -> None:
    (told,) = problems(None, "augment=mein")
    assert "no policy 'mein'" in told
    assert "mine" in told
    (told,) = problems(None, "augment=nowhere/mine.yaml")
    assert "no such file" in told


def test_copy_paste_as_a_number_is_explained() -> None:
    (told,) = problems({"augment": {"copy_paste": 1.0}})
    assert "does nothing on boxes without polygons" in told


def test_objects_from_python_become_plain_values() -> None:
    for given in ([A.Rotate(limit=(-5, 5), p=0.2)], Policy(transforms=[A.Rotate(limit=(-5, 5), p=0.2)])):
        policy = config_from_dict({"augment": given}).augment
        name, parameters = next(iter(policy.transforms[0].items()))
        assert (name, parameters["limit"], parameters["p"]) == ("Rotate", [-5, 5], 0.2)
    (told,) = problems({"augment": [A.Lambda(image=_unchanged, name="mine")]})
    assert "Lambda" in told


def test_a_resolved_configuration_needs_no_policy_file(folder: Path) -> None:
    config = load_config(None, ["augment=mine"])
    (folder / "configs" / "augment" / "mine.yaml").unlink()
    text = config.to_yaml()
    assert config_from_dict(yaml.safe_load(text)) == config
    assert config.augment.name == "mine"


def test_entries_and_what_is_left_without_one(folder: Path) -> None:
    policy = load_config(None, ["augment=mine"]).augment.replaced(copy_paste=CopyPaste(quotas={"pit": 0.2}))
    names = entries(policy)
    assert names[0] == "copy_paste"
    assert [n for n in names if n[0].isupper()] == ["GaussNoise", "Rotate", "GaussNoise#2"]
    for name in names:
        only = policy.only(name)
        assert len(entries(only)) == 1
        left = entries(policy.without(name))
        assert len(left) == len(names) - 1
        if "#" not in name and name != "GaussNoise":
            assert entries(only) == (name,)
            assert name not in left
    assert policy.only("Rotate", forced=True).transforms == [{"Rotate": {"limit": 5, "p": 1.0}}]
    assert policy.only("mosaic", forced=True).mosaic == 1.0
    assert policy.only("GaussNoise#2").transforms == [policy.transforms[2]]
    with pytest.raises(KeyError, match="policy has"):
        policy.without("Fog")


def test_a_policy_file_that_builds_on_a_policy_is_told_where_that_stands(folder: Path) -> None:
    (folder / "own.yaml").write_text("# mine\npolicy: none\nfliplr: 0.5\n")
    with pytest.raises(ConfigError, match=r"own.yaml:2: augment.policy: stands in a configuration"):
        load_config(None, [f"augment={folder / 'own.yaml'}"])


def test_a_policy_keeps_its_name_until_a_key_changes_it(folder: Path) -> None:
    assert load_config(None, ["augment=metal"]).augment.name == "metal"
    same = load_config(None, ["augment=metal"]).augment.fliplr
    assert load_config(None, ["augment=metal", f"fliplr={same}"]).augment.name == "metal"
    assert load_config(None, ["augment=metal", "fliplr=0.25"]).augment.name == "metal-changed"
