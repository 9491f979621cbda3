"""Gradient norms of every parameter tensor at every step, in a run folder: rows of one size, appended whole.

`history/tensors.json` names the columns, `history/tensors.bin` holds the rows: the step as int32 and one float32 per
tensor, little-endian. As JSON lines the same figures would take eight times the space. A torn last row (the power went
while it was written) is not read, and cut off before anything is appended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import RunError
from .records import explain_disk_errors, read_json, write_atomic, write_json

NO_GRADIENT = -1.0  # in place of a norm: the tensor had no gradient at all in that step (not even a zero)


@dataclass(frozen=True)
class TensorNorms:
    """Gradient norms before clipping, unscaled, per picture of the step.

    Args:
        tensors: names of the trainable parameter tensors, `[t]`, as `named_parameters` gives them.
        layers: the layer of each tensor, `[t]`: `model.<i>`, in the head `model.<i>.<branch>`.
        steps: optimiser steps, `[s]`.
        values: float32 norms `[s, t]`; `NO_GRADIENT` where there was none, nan or inf where it was not finite.
    """

    tensors: tuple[str, ...]
    layers: tuple[str, ...]
    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]

    @cached_property
    def layer_names(self) -> tuple[str, ...]:
        """The layers in the order of the network, `[l]`."""
        return tuple(dict.fromkeys(self.layers))

    @cached_property
    def by_layer(self) -> npt.NDArray[np.float64]:
        """Norms per layer `[s, l]`: the root of the sum of its tensors' squares; a missing gradient counts as zero."""
        squares = np.maximum(self.values.astype(np.float64), 0.0) ** 2  # maximum keeps nan
        numbers = {name: index for index, name in enumerate(self.layer_names)}
        member = np.zeros((len(self.layers), len(numbers)))
        member[np.arange(len(self.layers)), [numbers[layer] for layer in self.layers]] = 1.0
        finite = np.isfinite(squares)
        sums: npt.NDArray[np.float64] = np.sqrt(np.where(finite, squares, 0.0) @ member)
        sums[(~finite).astype(float) @ member > 0] = np.nan
        return sums


EMPTY = TensorNorms((), (), np.zeros(0, np.int64), np.zeros((0, 0), np.float32))


def begin(folder: Path, tensors: Sequence[str], layers: Sequence[str]) -> None:
    """Name the columns. A run that goes on with other columns (another freeze) would mix them: it is refused.

    Raises:
        RunError: other columns are recorded already, or the disk is full or not writable.
    """
    header = {"tensors": list(tensors), "layers": list(layers)}
    known = read_json(folder / "tensors.json", {})
    if known and known != header and (folder / "tensors.bin").is_file():
        raise RunError(f"{folder / 'tensors.json'}: names other tensors than are trained now; start a new run")
    write_json(folder / "tensors.json", header)


def append(folder: Path, steps: Sequence[int], values: npt.NDArray[np.float32]) -> None:
    """Append one row per step, all or none.

    Args:
        folder: the run's history folder.
        steps: optimiser steps, `[s]`.
        values: float32 `[s, t]` as in `TensorNorms`.

    Raises:
        RunError: the disk is full or not writable.
    """
    rows = np.empty(len(steps), _row_type(values.shape[1]))
    rows["step"], rows["norm"] = steps, values
    path = folder / "tensors.bin"
    with explain_disk_errors(path), path.open("ab", buffering=0) as file:
        end = file.seek(0, 2) // rows.itemsize * rows.itemsize
        file.truncate(end)
        try:
            view = memoryview(rows.tobytes())
            while view:
                view = view[file.write(view) or 0 :]
        except BaseException:
            file.truncate(end)
            raise


def read(folder: Path) -> TensorNorms:
    """Return what is recorded so far; no rows where there is no file.

    Raises:
        RunError: the files cannot be read.
    """
    header: Mapping[str, Any] = read_json(folder / "tensors.json", {})
    if not header:
        return EMPTY
    rows = _rows(folder / "tensors.bin", len(header["tensors"]))
    steps = rows["step"].astype(np.int64)
    return TensorNorms(tuple(header["tensors"]), tuple(header["layers"]), steps, np.asarray(rows["norm"]))


def rewind(folder: Path, steps: int) -> None:
    """Keep the rows of the first `steps` optimiser steps."""
    header = read_json(folder / "tensors.json", {})
    path = folder / "tensors.bin"
    if header and path.is_file():
        rows = _rows(path, len(header["tensors"]))
        write_atomic(path, rows[rows["step"] < steps].tobytes())


def _row_type(tensors: int) -> np.dtype[Any]:
    return np.dtype([("step", "<i4"), ("norm", "<f4", (tensors,))])


def _rows(path: Path, tensors: int) -> npt.NDArray[Any]:
    kind = _row_type(tensors)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return np.zeros(0, kind)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
    return np.frombuffer(content[: len(content) // kind.itemsize * kind.itemsize], kind)
