"""Where a model comes from: an architecture, a local checkpoint, or weights by name; read without running its code."""

from __future__ import annotations

import difflib
import pickle
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import ModelError
from .leash import tighten
from .records import write_atomic

_SIZES = "nslmx"


def resolve_model(name: str, weights: Path) -> Path:
    """Return the file of a model: a checkpoint (.pt) or an architecture (.yaml).

    Args:
        name: path of either, or a name that Ultralytics knows, such as `yolo26n.pt` or `yolo26n.yaml`.
        weights: folder in which weights by name are looked for, and into which they are downloaded.

    Raises:
        ModelError: there is no such file or name, or the weights could not be downloaded.
    """
    tighten()
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        return path if path.is_file() else _architecture(name)
    if path.suffix != ".pt":
        raise ModelError(f"model.name: '{name}' is neither a checkpoint (.pt) nor an architecture (.yaml)")
    for place in (path, weights / name):
        if place.is_file():
            return place.absolute()
    if path.name != name:
        raise ModelError(f"model.name: no such file: {path.absolute()}")
    return _download(name, weights)


def load_weights(path: Path) -> Any:
    """Return the detection model (`torch.nn.Module`, float32) that a checkpoint holds; no code in it is run.

    Raises:
        ModelError: the file is missing or damaged, holds anything but known layers, or is no detection model.
    """
    tighten()
    from ultralytics.nn.tasks import guess_model_task, load_checkpoint

    if not path.is_file():  # Ultralytics would look for one of that name on the network
        raise ModelError(f"no such file: {path.absolute()}")
    try:
        with _plain_name(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, _ = load_checkpoint(str(file))
    except Exception as error:  # a damaged file can make the unpickler raise anything
        raise ModelError(f"{path}: {_why_not_loaded(error)}") from error
    model.pt_path = str(path)
    structure = getattr(model, "yaml", None)  # its head is what counts: a bare model carries Ultralytics' default task
    tasks = [model.task, guess_model_task(structure) if isinstance(structure, dict) else model.task]
    other = [task for task in tasks if task != "detect"]
    if other:
        raise ModelError(f"{path}: a model for the task '{other[0]}', not for detection; choose one such as yolo26n.pt")
    return model


@contextmanager
def _plain_name(path: Path) -> Iterator[Path]:
    """Yield the file under a name that Ultralytics leaves alone: it drops apostrophes and renames old YOLOv5 files."""
    from ultralytics.utils.checks import check_yolov5u_filename

    if check_yolov5u_filename(str(path).strip().replace("'", ""), verbose=False) == str(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "checkpoint.pt"
        link.symlink_to(path.absolute())
        yield link


def _why_not_loaded(error: Exception) -> str:
    cause = error.__cause__ or error
    text = f"{error} {cause}"
    if "blocked during restricted" in text or (isinstance(cause, pickle.UnpicklingError) and "GLOBAL" in text):
        return (
            "not loaded, it holds more than weights and known layers and could run code of its own; "
            "use a checkpoint written by Ultralytics or by this program"
        )
    if "outside the supported" in text and cause is error:
        return "holds no model, perhaps its bare weights; use a checkpoint written by Ultralytics or by this program"
    if "TorchScript archive" in text:
        return "a TorchScript archive, not a checkpoint; use the .pt file that it was exported from"
    # torch's words for what it does not understand hold the advice to switch its protection off.
    why = type(cause).__name__ if "weights_only" in str(cause) else _first(cause)
    return f"not a checkpoint that can be read; get the file again ({why})"


def _first(error: BaseException) -> str:
    sentence = re.split(r"\.\s|\n", str(error).strip())[0][:120]
    return f"{type(error).__name__}: {sentence}" if sentence else type(error).__name__


def _architecture(name: str) -> Path:
    from ultralytics.nn.tasks import guess_model_task
    from ultralytics.utils import ROOT

    files = [file for file in (ROOT / "cfg" / "models").rglob("*.yaml") if guess_model_task(file) == "detect"]
    # Ultralytics reads the size off the name: the file is yolo26.yaml, and the n of yolo26n.yaml is its scale.
    sized = [re.sub(r"^(yolo[a-z]*\d+)", rf"\g<1>{size}", file.name) for file in files for size in _SIZES]
    known = sorted({*(file.name for file in files), *sized})
    if name not in known:
        detector = re.sub(r"-[a-z]+(?=\.ya?ml)", "", name)  # of yolo26n-seg.yaml
        raise ModelError(f"model.name: no architecture '{name}'{_suggestion(detector, known)}")
    return Path(name)


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _download(name: str, weights: Path) -> Path:
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

    if name not in GITHUB_ASSETS_NAMES:
        looked = f"no such file in {Path.cwd()} or {weights.absolute()}, and no weights that Ultralytics publishes"
        raise ModelError(f"model.name: '{name}': {looked}{_suggestion(name, sorted(GITHUB_ASSETS_NAMES))}")
    target = weights / name
    try:
        with tempfile.TemporaryDirectory() as folder:
            arrived = Path(attempt_download_asset(str(Path(folder) / name)))
            write_atomic(target, arrived.read_bytes())
    except Exception as error:  # whatever the network, a proxy or the disk raises, the three ways out are the same
        raise ModelError(_three_ways(name, target, _first(error))) from error
    return target.absolute()


def _three_ways(name: str, target: Path, why: str) -> str:
    return (
        f"model.name: {name} is not on this machine and could not be downloaded ({why}). Three ways out:\n"
        f"  1. put the file at {target.absolute()} (from a machine with a network: `yolo predict model={name}`)\n"
        f"  2. name another checkpoint that you have: model=path/to/best.pt\n"
        f"  3. start from random weights: model={Path(name).stem}.yaml (needs more pictures and epochs)"
    )
