"""Ultralytics on its leash: one check for every switch, in processes of their own with a new home folder.

An import of Ultralytics takes seconds, so that one process answers many questions, and each test reads off its answer.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, answer_of, run_python

from pipeline import leash
from pipeline.errors import ConfigError
from pipeline.leash import LOGGERS, chatter_to, cpu_count, set_switches, thread_count, tighten

# Notes and refuses whatever goes to the network, and notes every process that is started.
WATCH = """
import json, os, sys
network, processes = [], []

def watch(event, arguments):
    if event in {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"}:
        processes.append(repr(arguments[:2]))
    if event.startswith("socket.") and event not in {"socket.gethostname", "socket.sethostname"}:
        network.append(event)
        if event != "socket.__new__":
            raise OSError("the network is not to be used here")

sys.addaudithook(watch)
"""

# The packages whose integrations are attached to whatever is called a trainer.
CALLBACKS = """
from collections import defaultdict
from ultralytics.utils.callbacks import add_integration_callbacks

class SomeTrainer:
    callbacks = defaultdict(list)

add_integration_callbacks(SomeTrainer())
attached = {f.__module__.split(".")[-1] for functions in SomeTrainer.callbacks.values() for f in functions}
"""

LEASHED = (
    WATCH
    + """
import pipeline
from pipeline.leash import tighten
tighten()
tighten()
import albumentations
after_import = {"network": list(network), "processes": list(processes)}
"""
    + CALLBACKS
    + """
import torch
from pathlib import Path
from pipeline.errors import ModelError
from pipeline.model_source import load_weights
from ultralytics.utils import SETTINGS, SETTINGS_FILE
from ultralytics.utils.checks import check_requirements

processes.clear()
satisfied = check_requirements("some-missing-package-xyz")
pip = list(processes)

class Hostile:
    def __reduce__(self):
        return os.mkdir, ("executed",)

for name, content in {"whole": Hostile(), "model": {"model": Hostile()}}.items():
    torch.save(content, f"{name}.pt")
refusals = {}
for name in ("whole", "model"):
    try:
        load_weights(Path(f"{name}.pt"))
    except ModelError as error:
        refusals[name] = str(error)
executed_by_us = os.path.exists("executed")

from pipeline.data.images import picture_sizes
from pipeline.errors import DataError
Path("empty.jpg").touch()
Path("page.jpg").write_text("<html>404</html>")
try:
    picture_sizes([Path("empty.jpg"), Path("page.jpg")])
    no_pictures = ""
except DataError as error:
    no_pictures = str(error)
torch.load("model.pt", weights_only=False)

print(json.dumps({
    **after_import,
    "attached": sorted(attached),
    "loaded": sorted({"mlflow", "wandb"} & set(sys.modules)),
    "satisfied": satisfied, "pip": pip,
    "no_pictures": no_pictures, "refusals": refusals,
    "executed_by_us": executed_by_us, "hostile": os.path.exists("executed"),
    "threads": [torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]],
    "settings_file": str(SETTINGS_FILE), "sync": SETTINGS["sync"],
}))
"""
)

LEFT_BY_THE_CHECKS = {"empty.jpg", "executed", "model.pt", "page.jpg", "whole.pt"}

ONE_LOGGER = (
    "import json, sys, pipeline\nfrom pipeline.leash import tighten\ntighten(['mlflow'])\n"
    + CALLBACKS
    + "print(json.dumps({'attached': sorted(attached), 'loaded': sorted({'mlflow', 'wandb'} & set(sys.modules))}))"
)

TOO_LATE = (
    WATCH
    + "import ultralytics\n"
    + CALLBACKS
    + """
import pipeline
from pipeline.errors import ModelError
from pipeline.leash import tighten
try:
    tighten()
    refusal = ""
except ModelError as error:
    refusal = str(error)
print(json.dumps({"refusal": refusal, "network": network, "attached": sorted(attached)}))
"""
)


def _with_loggers_installed(folder: Path) -> dict[str, str]:
    """Install packages that look like MLflow and W&B, of which the first writes its database when it is imported."""
    for name, code in {"mlflow": "open('mlflow.db', 'w').close()\n", "wandb": ""}.items():
        (folder / "installed" / name).mkdir(parents=True)
        (folder / "installed" / name / "__init__.py").write_text(f"__version__ = '9.9'\n{code}")
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder / "installed")]),
        "ULTRALYTICS_API_KEY": "ul_" + "0" * 40,
    }


class Answer:
    """What a process printed, said on the side, and left behind."""

    def __init__(self, code: str, folder: Path) -> None:
        process = run_python(code, folder, **_with_loggers_installed(folder))
        self.values: dict[str, Any] = answer_of(process)
        self.chatter = process.stderr + "".join(process.stdout.splitlines(keepends=True)[:-1])
        self.work = folder / "work"
        self.home = {str(path.relative_to(folder / "home")) for path in (folder / "home").rglob("*")}

    def __getitem__(self, key: str) -> Any:
        return self.values[key]


@pytest.fixture(scope="module")
def leashed(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    return Answer(LEASHED, tmp_path_factory.mktemp("leashed"))


@pytest.fixture(scope="module")
def too_late(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """Ultralytics without a leash: also the proof that the checks would notice what they look for."""
    return Answer(TOO_LATE, tmp_path_factory.mktemp("too_late"))


def test_offline_no_name_is_looked_up_and_no_socket_opened(leashed: Answer, too_late: Answer) -> None:
    assert leashed["network"] == []  # Albumentations' look for a newer version included
    assert "socket.getaddrinfo" in too_late["network"]


def test_nothing_is_said_on_import(leashed: Answer) -> None:
    assert leashed.chatter == ""


def test_a_missing_package_is_not_installed(leashed: Answer) -> None:
    assert leashed["satisfied"] is False
    assert leashed["pip"] == []
    assert not any("pip" in process for process in leashed["processes"])


def test_a_hostile_checkpoint_is_refused_and_not_executed(leashed: Answer) -> None:
    assert set(leashed["refusals"]) == {"whole", "model"}
    for name, message in leashed["refusals"].items():
        assert message.startswith(f"{name}.pt: not loaded, it holds more than weights")
    assert leashed["executed_by_us"] is False
    assert leashed["hostile"] is True  # plain torch.load does execute it


def test_what_is_no_picture_is_told_as_without_ultralytics(leashed: Answer) -> None:
    """Ultralytics puts a function of its own in the place of Pillow's, which asks for another package."""
    assert leashed["no_pictures"].splitlines() == [
        "2 of 2 pictures cannot be read:",
        "  empty.jpg: the file is empty; remove it or save it again",
        "  page.jpg: not a picture that can be read (starts like a web page); remove it or save it again",
    ]


def test_settings_stay_in_the_working_folder(leashed: Answer, too_late: Answer) -> None:
    settings = Path(leashed["settings_file"])
    assert settings.is_relative_to(leashed.work / ".tuneup")
    assert settings.is_file()
    assert leashed["sync"] is False
    assert leashed.home == set()
    assert any("ultralytics" in name.lower() for name in too_late.home)


def test_installed_loggers_are_neither_imported_nor_attached(leashed: Answer, too_late: Answer) -> None:
    assert leashed["loaded"] == []
    assert not {*LOGGERS, "wb"} & set(leashed["attached"])
    assert {path.name for path in leashed.work.iterdir()} == LEFT_BY_THE_CHECKS | {".tuneup"}
    assert "mlflow" in too_late["attached"]
    assert (too_late.work / "mlflow.db").is_file()


def test_an_api_key_in_the_environment_attaches_no_cloud_service(leashed: Answer, too_late: Answer) -> None:
    assert "platform" not in leashed["attached"]
    assert "platform" in too_late["attached"]


def test_all_cores_are_used_by_default(leashed: Answer) -> None:
    assert leashed["threads"] == [cpu_count(), str(cpu_count())]


def test_ultralytics_before_the_package_is_refused(too_late: Answer) -> None:
    assert too_late["refusal"] == (
        "ultralytics was imported before pipeline, without protection; put `import pipeline` first"
    )


def test_a_logger_that_is_asked_for_is_the_only_one(tmp_path: Path) -> None:
    answer = Answer(ONE_LOGGER, tmp_path)
    assert "mlflow" in answer["attached"]
    assert not {*LOGGERS, "wb", "platform"} - {"mlflow"} & set(answer["attached"])
    assert answer["loaded"] == ["mlflow"]
    assert answer.chatter == ""


# ---- without Ultralytics --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logger", "command"),
    [("mlflow", "pip install mlflow"), ("comet", "pip install comet_ml"), ("raytune", "pip install 'ray[tune]'")],
)
def test_a_logger_that_is_not_installed_names_the_command(
    monkeypatch: pytest.MonkeyPatch, logger: str, command: str
) -> None:
    monkeypatch.setattr(leash, "_is_installed", lambda package: False)
    with pytest.raises(ConfigError) as caught:
        tighten([logger])
    assert caught.value.problems == (f"monitor.loggers: {logger} is not installed; `{command}`",)


def test_all_missing_loggers_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leash, "_is_installed", lambda package: package == "wandb")
    with pytest.raises(ConfigError) as caught:
        tighten(["mlflow", "wandb", "clearml"])
    assert [problem.split()[1] for problem in caught.value.problems] == ["mlflow", "clearml"]


def test_a_folder_of_a_packages_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tuneup_left_behind", "tuneup_installed"):
        (tmp_path / name).mkdir()
    (tmp_path / "tuneup_installed" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = [leash._is_installed(name) for name in ("tuneup_left_behind", "tuneup_installed", "tuneup_gone")]
    assert found == [False, True, False]
    assert "tuneup_installed" not in sys.modules


@pytest.mark.parametrize(
    ("given", "threads"),
    [
        ("1", 1),
        (" 3 ", 3),
        ("4,2", 4),
        ("", None),
        ("all", None),
        ("0", None),
        ("-2", None),
        ("1.5", None),
        ("²", None),
    ],
)
def test_the_number_of_threads_is_honoured_and_nonsense_means_all_cores(
    monkeypatch: pytest.MonkeyPatch, given: str, threads: int | None
) -> None:
    for key in (*leash.SWITCHES, "YOLO_CONFIG_DIR"):  # so that they are put back
        monkeypatch.setenv(key, "before")
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    set_switches()
    assert thread_count() == (threads or cpu_count())
    assert os.environ["OMP_NUM_THREADS"] == str(threads or cpu_count())


def test_switches_that_a_person_set_otherwise_are_put_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key in leash.SWITCHES:
        monkeypatch.setenv(key, "other")
    monkeypatch.setenv("YOLO_CONFIG_DIR", "other")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    set_switches()
    assert {key: os.environ[key] for key in leash.SWITCHES} == leash.SWITCHES
    assert os.environ["YOLO_CONFIG_DIR"] == str(tmp_path / ".tuneup")
    assert list(tmp_path.iterdir()) == []


def test_chatter_goes_to_its_file_and_nowhere_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("ultralytics")
    before = (logger.level, list(logger.handlers))
    with chatter_to(tmp_path / "ultralytics.log"):
        logger.info("said inside")
    logger.info("said outside")
    assert (logger.level, logger.handlers) == before
    assert [line.split(" INFO ")[1] for line in (tmp_path / "ultralytics.log").read_text().splitlines()] == [
        "said inside"
    ]
    assert capfd.readouterr() == ("", "")
