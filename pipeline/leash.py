"""Ultralytics on a leash: every switch that keeps it offline, safe and quiet, in this one place.

`set_switches` changes environment variables, which Ultralytics and Albumentations read once at their import;
`import pipeline` calls it, so a program imports `pipeline` before `ultralytics`. `tighten` imports Ultralytics, checks
that the switches were read, and settles what can only be settled afterwards; training and prediction call it first.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import ConfigError, ModelError

# What each variable prevents is written beside it; a test tries each one.
SWITCHES = {
    "YOLO_OFFLINE": "1",  # no analytics, no look-up of newer versions, no DNS question at import
    "YOLO_AUTOINSTALL": "0",  # otherwise it pip-installs on its own, even a module that a checkpoint names
    "ULTRALYTICS_SAFE_LOAD": "1",  # otherwise a hostile .pt is executed when it is read
    "YOLO_VERBOSE": "0",  # no progress bars; the log is turned on again for ultralytics.log alone
    "NO_ALBUMENTATIONS_UPDATE": "1",  # otherwise Albumentations looks for a newer version at import
}
LOGGERS = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
_PACKAGES = {"comet": "comet_ml", "dvc": "dvclive", "raytune": "ray[tune]"}  # where the package has another name


def cpu_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settings_folder() -> Path:
    """Return the folder for Ultralytics' settings: `.tuneup` in the working folder, never the home folder."""
    return Path.cwd() / ".tuneup"


def set_switches() -> None:
    """Set the environment variables; touches no file and imports nothing."""
    os.environ.update(SWITCHES)
    os.environ["YOLO_CONFIG_DIR"] = str(settings_folder())
    # Ultralytics would set 1 here and then train on cpu_count - 1 threads: on two cores, on half of the machine.
    os.environ["OMP_NUM_THREADS"] = str(thread_count())


def thread_count() -> int:
    """Return the number of CPU threads to compute with: `OMP_NUM_THREADS` if it is a number, else all cores."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # OpenMP allows one number per nesting level
    return int(wanted) if wanted.isdecimal() and int(wanted) > 0 else cpu_count()


def tighten(loggers: Sequence[str] = ()) -> None:
    """Import Ultralytics under the switches, silence it, and allow only the named logger integrations.

    Raises:
        ConfigError: a logger's package is not installed.
        ModelError: Ultralytics was imported before `pipeline`, so that it reads checkpoints without protection.
    """
    set_switches()
    packages = {name: _PACKAGES.get(name, name) for name in loggers}
    missing = {name: package for name, package in packages.items() if not _is_installed(package.split("[")[0])}
    if missing:
        raise ConfigError(
            [f"monitor.loggers: {n} is not installed; `pip install {shlex.quote(p)}`" for n, p in missing.items()]
        )
    utils = importlib.import_module("ultralytics.utils")
    if not utils.SAFE_LOAD or utils.ONLINE:
        raise ModelError("ultralytics was imported before pipeline, without protection; put `import pipeline` first")
    wanted = {"sync": False, **{name: name in loggers for name in LOGGERS}}
    if any(utils.SETTINGS[key] is not value for key, value in wanted.items()):
        utils.SETTINGS.update(wanted)
    # Its cloud service would follow a run whenever an API key happens to stand in the environment.
    vars(importlib.import_module("ultralytics.utils.callbacks.platform"))["callbacks"] = {}
    for handler in list(utils.LOGGER.handlers):
        if getattr(handler, "stream", None) in {sys.stdout, sys.__stdout__}:
            utils.LOGGER.removeHandler(handler)


def _is_installed(package: str) -> bool:
    """Whether there is such a package; a mere folder of that name, such as wandb leaves behind, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


@contextmanager
def chatter_to(path: Path) -> Iterator[None]:
    """Write what Ultralytics says, and Python's warnings, to a file while the block runs, and nothing to the screen."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger("ultralytics"), logging.getLogger("py.warnings")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(True)
        for logger in loggers:
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
            logger.propagate = False
        try:
            yield
        finally:
            for logger, (level, propagate) in zip(loggers, before, strict=True):
                logger.removeHandler(handler)
                logger.setLevel(level)
                logger.propagate = propagate
            logging.captureWarnings(False)
            handler.close()
