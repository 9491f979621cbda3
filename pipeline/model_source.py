"""Where a model comes from: an architecture, a local checkpoint, or weights by name; read without running its code."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from .errors import ModelError
from .leash import tighten

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
        ModelError: the file is damaged, holds anything but known layers, or is no detection model.
    """
    tighten()
    from ultralytics.nn.tasks import load_checkpoint

    try:
        model, _ = load_checkpoint(str(path))
    except (TypeError, RuntimeError, ValueError, KeyError, AttributeError, OSError, ImportError, EOFError) as error:
        if "outside the supported" in str(error) or "blocked during restricted" in str(error):
            raise ModelError(
                f"{path}: not loaded, it holds more than weights and known layers and could run code of its own; "
                "use a checkpoint written by Ultralytics or by this program"
            ) from error
        raise ModelError(f"{path}: not a checkpoint that can be read; get the file again ({_first(error)})") from error
    task = getattr(model, "task", None)
    if task != "detect":
        raise ModelError(f"{path}: a model for the task '{task}', not for detection; choose one such as yolo26n.pt")
    return model


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__


def _architecture(name: str) -> Path:
    from ultralytics.nn.tasks import guess_model_task
    from ultralytics.utils import ROOT

    files = [file for file in (ROOT / "cfg" / "models").rglob("*.yaml") if guess_model_task(file) == "detect"]
    # Ultralytics reads the size off the name: the file is yolo26.yaml, and the n of yolo26n.yaml is its scale.
    sized = [re.sub(r"^(yolo[a-z]*\d+)", rf"\g<1>{size}", file.name) for file in files for size in _SIZES]
    known = sorted({*(file.name for file in files), *sized})
    if name not in known:
        raise ModelError(f"model.name: no architecture '{name}'{_suggestion(name, known)}")
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
        attempt_download_asset(str(target))
    except Exception as error:  # whatever the network, a proxy or the disk raises, the three ways out are the same
        raise ModelError(_three_ways(name, target, _first(error))) from error
    if not target.is_file():
        raise ModelError(_three_ways(name, target, "nothing arrived"))
    return target.absolute()


def _three_ways(name: str, target: Path, why: str) -> str:
    return (
        f"model.name: {name} is not on this machine and could not be downloaded ({why}). Three ways out:\n"
        f"  1. put the file at {target.absolute()} (from a machine with a network: `yolo predict model={name}`)\n"
        f"  2. name another checkpoint that you have: model=path/to/best.pt\n"
        f"  3. start from random weights: model={Path(name).stem}.yaml (needs more pictures and epochs)"
    )
