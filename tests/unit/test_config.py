"""The configuration: presets, overrides, every mistake at once with its place, and a file that says everything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.config_words
from pipeline.config import Config, DataConfig, _full_key, config_from_dict, explain, load_config, require_data
from pipeline.errors import ConfigError
from pipeline.known_keys import AUGMENT_KEYS, TRAIN_KEYS, known_keys
from pipeline.section import Section
from pipeline.sections import SECTIONS

CONFIGS = Path(__file__).parents[2] / "configs"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write files into an empty working folder; returns the path of the last one as a user would type it."""
    monkeypatch.chdir(tmp_path)

    def write_files(**texts: str) -> Path:
        for name, text in texts.items():
            Path(f"{name}.yaml").write_text(text, encoding="utf-8")
        return Path(f"{name}.yaml")

    return write_files


def problems(path: Path | None, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return list(caught.value.problems)


# What is read


def test_defaults() -> None:
    config = load_config(None)
    assert config == Config()
    assert (config.runs, config.model.name, config.model.weights) == (Path("runs"), "yolo26n.pt", Path("weights"))
    assert (config.data.path, config.data.val_fraction, config.data.group) == (None, 0.15, "none")
    assert (config.eval.split, config.eval.conf, config.eval.max_det) == ("auto", 0.001, 300)
    assert (config.monitor.clip, config.report.samples, config.report.every) == (10.0, 12, 1)
    assert config.train.epochs == known_keys()["epochs"].default
    assert config.train.given == {}
    assert set(config.train.with_defaults()) == set(TRAIN_KEYS)
    ours = {"name", "transforms", "min_visibility", "copy_paste"}
    assert set(config.augment.with_defaults()) == {*AUGMENT_KEYS, *ours}


def test_a_file_with_shorthands(write: Write) -> None:
    path = write(a="data: pictures\nmodel: yolo11s.pt\ntrain:\n  epochs: 7\n  lr0: 1e-3\naugment:\nname: first\n")
    config = load_config(path)
    assert config.data.path == Path("pictures")
    assert config.model.name == "yolo11s.pt"
    assert config.name == "first"
    assert config.train.given == {"epochs": 7, "lr0": 0.001}
    assert config.train.with_defaults()["lr0"] == 0.001
    assert config.augment.given == {}


def test_presets_are_merged_and_the_later_one_wins(write: Write) -> None:
    Path("more").mkdir()
    Path("more/low.yaml").write_text("train: {epochs: 1, imgsz: 320}\ndata: low\n")
    path = write(
        high="base: more/low.yaml\ntrain: {epochs: 2, lr0: 0.1}\n",
        flips="augment: {flipud: 0.5}\ndata: {seed: 3}\n",
        top="base: [high.yaml, flips.yaml]\ntrain: {lr0: 0.2}\n",
    )
    config = load_config(path)
    assert config.train.given == {"epochs": 2, "imgsz": 320, "lr0": 0.2}
    assert config.augment.flipud == 0.5
    assert config.data == DataConfig(path=Path("low"), seed=3)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.epochs=5", "train.epochs", 5),
        ("epochs=5", "train.epochs", 5),
        (" mosaic = 0 ", "augment.mosaic", 0),
        ("seed=3", "train.seed", 3),  # also a key of data: Ultralytics' meaning wins
        ("batch=4", "train.batch", 4),  # also a key of eval
        ("data.seed=3", "data.seed", 3),
        ("eval.batch=4", "eval.batch", 4),
        ("conf=0.25", "eval.conf", 0.25),
        ("split=val", "eval.split", "val"),
        ("data=DIR", "data.path", Path("DIR")),
        ("data=2024", "data.path", Path("2024")),
        ("data=null", "data.path", None),
        ("path=a=b", "data.path", Path("a=b")),
        ("model=yolo11s.pt", "model.name", "yolo11s.pt"),
        ("runs=elsewhere", "runs", Path("elsewhere")),
        ("name=7", "name", "7"),
        ("group=none", "data.group", "none"),
        (r"group=[a-z]+_(\d+)", "data.group", r"[a-z]+_(\d+)"),
        ("device=[0,1]", "train.device", [0, 1]),
        ("time=None", "train.time", None),
        ("amp=True", "train.amp", True),
        ("optimizer=adamw", "train.optimizer", "AdamW"),
        ("clip=5", "monitor.clip", 5.0),
        ("train={epochs: 4}", "train.epochs", 4),
    ],
)
def test_overrides(override: str, key: str, value: object) -> None:
    found: Any = load_config(None, [override])
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_the_last_override_wins_over_the_file(write: Write) -> None:
    path = write(a="train: {epochs: 1}")
    assert load_config(path, ["epochs=2", "train.epochs=3"]).train.epochs == 3


def test_plain_values_from_python() -> None:
    config = config_from_dict({"data": Path("x"), "augment": {"scale": (0.5, 1.5)}}, ["mosaic=0.5"])
    assert config.data.path == Path("x")
    assert config.augment.given == {"scale": [0.5, 1.5], "mosaic": 0.5}
    assert config_from_dict({"data": DataConfig(seed=4)}, ["data=y"]).data == DataConfig(path=Path("y"), seed=4)


# What is wrong


def test_all_mistakes_at_once_with_their_places(write: Write) -> None:
    path = write(
        low="train:\n  epoch: 5\n",
        top="base: low.yaml\n\ndata:\n  path: x\n  format: voc2\ntrain:\n  lr0: fast\naugment: 5\nspeed: 3\n",
    )
    assert problems(path, "mosiac=1", "eval.conf=3", "nonsense") == [
        "low.yaml:2: train.epoch: unknown key; did you mean train.epochs?",
        "top.yaml:5: data.format: should be 'auto', 'yolo', 'coco', 'voc', 'labelme', 'cvat' or 'label_studio', "
        "found 'voc2'",
        "top.yaml:7: train.lr0: should be a number from 0 to 1, found 'fast'",
        "top.yaml:8: augment: should be the name or path of a policy file, or a section of `key: value` lines, found 5",
        "top.yaml:9: speed: unknown key; did you mean train.seed?",
        "command line: mosiac: unknown key; did you mean augment.mosaic?",
        "command line: 'nonsense': should be key=value, such as train.epochs=5",
        "command line: eval.conf: should be less than or equal to 1, found 3",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=5", "train.epoch: unknown key; did you mean train.epochs?"),
        ("trian.epochs=5", "trian.epochs: unknown key; did you mean train.epochs?"),
        ("train.mosaic=1", "train.mosaic: unknown key; did you mean augment.mosaic?"),
        ("eval.epochs=1", "eval.epochs: unknown key; did you mean train.epochs?"),
        ("epoch=1", "epoch: unknown key; did you mean train.epochs?"),
        ("modle=x", "modle: unknown key; did you mean model?"),
        ("report.colour=1", "report.colour: unknown key; report has samples, every"),
        ("train.data=x", "train.data: cannot be set here: set by the section data"),
        ("train.conf=0.3", "train.conf: cannot be set here: see eval.conf"),
        ("train.val=false", "train.val: cannot be set here: always on, it chooses the checkpoint that is kept"),
        ("copy_paste=1", "augment.copy_paste: should be a section such as {quotas: {scratch: 0.15}}; Ultralytics' own"),
        ("train.copy_paste=1", "train.copy_paste: cannot be set here: Ultralytics' own has no effect on boxes"),
        ("project=x", "project: cannot be set here: run folders are made in the folder runs"),
        ("resume=True", "resume: cannot be set here: a run is continued by"),
        ("base=x.yaml", "base: only a file can build on presets"),
        ("cache=disk", "train.cache: should be one of false, true, ram (disk would write"),
        ("train=5", "train: should be a section of `key: value` lines, found 5"),
        (
            "augment=true",
            "augment: should be the name or path of a policy file, or a section of `key: value` lines, found true",
        ),
        ("data=[1]", "data.path: should be a path, found [1]"),
        ("data='~nobody-of-this-name/x'", "data.path: should be a path; there is no such home folder"),
        ("model=null", "model.name: should be text, found null"),
        ("model=''", "model.name: should have at least 1 character, found ''"),
        ("val_fraction=0.9", "data.val_fraction: should be less than or equal to 0.5, found 0.9"),
        ("max_det=1.5", "eval.max_det: should be a whole number, found 1.5"),
        ("max_det=true", "eval.max_det: should be a whole number, found true"),
        ("clip=.nan", "monitor.clip: should be a finite number, found nan"),
        ("clip=0", "monitor.clip: should be greater than 0, found 0"),
        ("name=a/b", "name: should be a plain folder name, without a path, found 'a/b'"),
        ("name='..'", "name: should be a plain folder name"),
        ("group=board", "data.group: should be none, folder, duplicates, column:NAME, or a regular expression"),
        ("group='(a)(b)'", "data.group: should be none, folder, duplicates, column:NAME, or a regular expression"),
        ("group='(a'", "data.group: should be none, folder, duplicates, column:NAME, or a regular expression"),
        ("mosaic=", "mosaic: has no value"),
        ("=5", "'=5': should be key=value"),
        ("runs.x=1", "runs.x: unknown key; the top level has name, runs, data, model, train, augment, monitor"),
    ],
)
def test_mistakes_on_the_command_line(override: str, message: str) -> None:
    (problem,) = problems(None, override)
    assert problem.startswith(f"command line: {message}")


def test_long_values_are_cut() -> None:
    (problem,) = problems(None, "train.lr0=" + "x" * 500)
    assert problem.endswith("xxx...")
    assert len(problem) < 150


def test_a_bare_key_of_two_sections_must_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Section):
        clip: int = 1

    monkeypatch.setattr(pipeline.config_words, "SECTIONS", {**SECTIONS, "other": Other})
    assert problems(None, "clip=2") == ["command line: clip: could be monitor.clip or other.clip; write which one"]


def test_no_bare_key_is_ambiguous_today() -> None:
    for section in SECTIONS.values():
        for key in section.model_fields:
            _full_key(key)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a": "base: nope.yaml\nepochs: 1"},
            "a.yaml:1: base: no such file: {cwd}/nope.yaml; in {cwd} there are a.yaml",
        ),
        ({"a": "base: 5"}, "a.yaml:1: base: should be a path or a list of paths, found 5"),
        (
            {"b": "base: a.yaml", "a": "\nbase: b.yaml"},
            "b.yaml:1: base: goes round in a circle: a.yaml -> b.yaml -> a.yaml",
        ),
        ({"a": "base: a.yaml"}, "a.yaml:1: base: goes round in a circle: a.yaml -> a.yaml"),
        ({"b": "a: [", "a": "base: b.yaml"}, "b.yaml:1: not valid YAML"),
        ({"a": "base: ."}, "a.yaml:1: a folder or device, not a file: {cwd}"),
        ({"a": "5: 3"}, "a.yaml:1: 5: unknown key"),
        ({"a": "train:\n  5: 3"}, "a.yaml:2: train.5: unknown key"),
        ({"a": "train:\n  epochs: 1\n  epochs: 2"}, "a.yaml:3: train.epochs: given twice; first in a.yaml:2"),
        ({"a": "data: !!python/name:os.system x"}, "a.yaml:1: tags are not allowed"),
        ({"a": "conf: 0.3"}, "a.yaml:1: conf: unknown key; did you mean eval.conf?"),
        ({"a": "x: &x\n  epoch: 1\ntrain:\n  <<: *x"}, "a.yaml:2: train.epoch: unknown key"),
    ],
)
def test_mistakes_in_files(write: Write, files: dict[str, str], message: str) -> None:
    path = write(**files)
    expected = message.replace("{cwd}", str(Path.cwd()))
    assert any(problem.startswith(expected) for problem in problems(path)), problems(path)


def test_a_missing_file_names_the_presets(write: Write) -> None:
    write(one="", two="")
    expected = f"no such file: {Path.cwd() / 'tow.yaml'}; in {Path.cwd()} there are one.yaml, two.yaml"
    assert problems(Path("tow.yaml")) == [expected]
    assert problems(Path("x" * 5000))[0].startswith("no such file: ")
    assert problems(Path("."))[0].startswith("a folder or device, not a file: ")


def test_mistakes_in_plain_values() -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict({"train": {"epochs": -1}, "base": "x", "eval": {"conf": "high"}})
    assert set(caught.value.problems) == {
        "train.epochs: should be a whole number from 1, found -1",
        "base: only a file can build on presets; give that file instead",
        "eval.conf: should be a number, found 'high'",
    }


def test_data_is_asked_for_when_it_is_needed() -> None:
    assert require_data(load_config(None, ["data=x"])) == Path("x")
    with pytest.raises(ConfigError, match=r"data\.path: not set"):
        require_data(Config())


_KEYS = [row.key for row in explain()] + ["epochs", "data", "model", "train", "nothing", "train.nothing", "a.b.c", ""]
_TEXTS = st.text(max_size=20) | st.sampled_from(
    ["1", "-1", "0.5", "true", "none", "[1]", "{a: 1}", ".nan", "1e400", "~x"]
)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(lambda key, text: f"{key}={text}", st.sampled_from(_KEYS), _TEXTS) | st.text(max_size=20), max_size=4
    )
)
def test_overrides_fail_only_with_a_configuration_error(overrides: list[str]) -> None:
    try:
        config = load_config(None, overrides)
    except ConfigError:
        return
    assert config_from_dict(config.to_dict()) == config


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configurations_load(path: Path) -> None:
    assert load_config(path, ["data=x"]).data.path == Path("x")


def test_what_the_shipped_configurations_are_for() -> None:
    demo, defects, crops = (load_config(CONFIGS / f"{name}.yaml") for name in ("demo", "defects", "crops"))
    assert (demo.data.path, demo.model.name, demo.train.imgsz) == (Path("datasets/steel"), "yolo26n.yaml", 128)
    assert (defects.model.name, defects.train.epochs, defects.train.patience) == ("yolo26n.pt", 100, 30)
    assert (defects.data.group, defects.data.val_fraction, defects.train.imgsz) == ("folder", 0.15, 640)
    assert crops.augment.hsv_v > defects.augment.hsv_v
    assert crops.augment.flipud == 0.5
