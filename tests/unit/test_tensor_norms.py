"""Rows of gradient norms on disk: whole or not at all, and summed up per layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import tensor_norms
from pipeline.errors import RunError
from pipeline.tensor_norms import NO_GRADIENT

TENSORS = ("model.0.weight", "model.0.bias", "model.1.weight")
LAYERS = ("model.0", "model.0", "model.1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tensor_norms.begin(tmp_path, TENSORS, LAYERS)
    return tmp_path


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)


def test_what_was_appended_is_read_back(folder: Path) -> None:
    tensor_norms.append(folder, [0, 1], rows([3, 4, 5], [1, np.nan, np.inf]))
    tensor_norms.append(folder, [2], rows([0, NO_GRADIENT, 2]))
    norms = tensor_norms.read(folder)
    assert (norms.tensors, norms.layers, norms.steps.tolist()) == (TENSORS, LAYERS, [0, 1, 2])
    np.testing.assert_array_equal(norms.values, rows([3, 4, 5], [1, np.nan, np.inf], [0, NO_GRADIENT, 2]))


def test_a_layers_norm_is_that_of_its_tensors_together(folder: Path) -> None:
    tensor_norms.append(folder, [0, 1, 2], rows([3, 4, 5], [1, np.nan, 2], [0, NO_GRADIENT, 2]))
    norms = tensor_norms.read(folder)
    assert norms.layer_names == ("model.0", "model.1")
    np.testing.assert_allclose(norms.by_layer, [[5, 5], [np.nan, 2], [0, 2]])


def test_a_torn_last_row_is_not_read_and_cut_off_before_the_next(folder: Path) -> None:
    tensor_norms.append(folder, [0, 1], rows([1, 1, 1], [2, 2, 2]))
    path = folder / "tensors.bin"
    path.write_bytes(path.read_bytes()[:-5])
    assert tensor_norms.read(folder).steps.tolist() == [0]
    tensor_norms.append(folder, [1], rows([3, 3, 3]))
    np.testing.assert_array_equal(tensor_norms.read(folder).values[:, 0], [1, 3])


def test_rewind_keeps_the_first_steps(folder: Path) -> None:
    tensor_norms.append(folder, [0, 1, 2], rows([1, 1, 1], [2, 2, 2], [3, 3, 3]))
    tensor_norms.rewind(folder, 2)
    assert tensor_norms.read(folder).steps.tolist() == [0, 1]
    tensor_norms.append(folder, [2], rows([4, 4, 4]))
    assert tensor_norms.read(folder).values[:, 0].tolist() == [1, 2, 4]


def test_other_tensors_are_not_mixed_into_the_same_file(folder: Path) -> None:
    tensor_norms.begin(folder, TENSORS[:2], LAYERS[:2])  # nothing was recorded yet
    tensor_norms.append(folder, [0], rows([1, 1]))
    tensor_norms.begin(folder, TENSORS[:2], LAYERS[:2])
    with pytest.raises(RunError, match="names other tensors"):
        tensor_norms.begin(folder, TENSORS, LAYERS)


def test_a_full_disk_leaves_whole_rows(small_disk: Path) -> None:
    tensor_norms.begin(small_disk, TENSORS, LAYERS)
    tensor_norms.append(small_disk, [0], rows([1, 1, 1]))
    many = np.ones((100_000, 3), np.float32)
    with pytest.raises(RunError, match="disk is full"):
        tensor_norms.append(small_disk, list(range(100_000)), many)
    assert tensor_norms.read(small_disk).steps.tolist() == [0]


def test_a_run_without_norms_reads_as_empty(tmp_path: Path) -> None:
    assert tensor_norms.read(tmp_path).by_layer.shape == (0, 0)
    tensor_norms.rewind(tmp_path, 3)
