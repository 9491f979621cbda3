"""Where models come from: names and near misses, downloads that fail, and files that are not what they seem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import files_below

from pipeline.errors import ModelError
from pipeline.leash import tighten
from pipeline.model_source import load_weights, resolve_model

tighten()
from ultralytics.nn.tasks import ClassificationModel, DetectionModel, SegmentationModel  # noqa: E402  after the leash
from ultralytics.utils import downloads  # noqa: E402


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with a network that fails at once."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no network in this test")

    monkeypatch.setattr(downloads, "safe_download", refuse)


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["yolo26n.yaml", "yolo11x.yaml", "yolov8s.yaml", "yolo26.yaml"])
def test_known_architectures_are_taken_by_name(tmp_path: Path, name: str) -> None:
    assert resolve_model(name, tmp_path) == Path(name)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("yolo26q.yaml", r"yolo26.?\.yaml"),
        ("yolo-11m.yaml", r"yolo11m\.yaml"),
        ("yolo26n-seg.yaml", r"yolo26n\.yaml"),  # not a detector
    ],
)
def test_an_unknown_architecture_gets_a_suggestion(tmp_path: Path, name: str, suggestion: str) -> None:
    with pytest.raises(ModelError, match=rf"no architecture '{name}'; did you mean {suggestion}\?"):
        resolve_model(name, tmp_path)


def test_something_quite_unlike_gets_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no architecture 'transformer\.yaml'$"):
        resolve_model("transformer.yaml", tmp_path)


def test_an_architecture_of_ones_own_is_taken_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("nc: 2\n")
    assert resolve_model(str(tmp_path / "mine.yaml"), tmp_path) == tmp_path / "mine.yaml"


@pytest.mark.parametrize("name", ["yolo26n", "yolo26n.onnx", "best.pth", ""])
def test_another_kind_of_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"neither a checkpoint \(\.pt\) nor an architecture \(\.yaml\)"):
        resolve_model(name, tmp_path)


def test_a_file_here_goes_before_one_in_the_folder_of_weights(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "yolo26n.pt").touch()
    assert resolve_model("yolo26n.pt", weights) == weights / "yolo26n.pt"
    Path("yolo26n.pt").touch()
    assert resolve_model("yolo26n.pt", weights) == tmp_path / "work" / "yolo26n.pt"


def test_a_path_that_is_not_there_is_named_whole_and_not_looked_for_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_model("runs/steel/weights/best.pt", tmp_path)
    assert str(caught.value) == f"model.name: no such file: {tmp_path}/work/runs/steel/weights/best.pt"


@pytest.mark.parametrize(("name", "suggestion"), [("yolo62n.pt", "yolo26n.pt"), ("yolov11n.pt", "yolo11n.pt")])
def test_misspelt_weights_get_a_suggestion(tmp_path: Path, name: str, suggestion: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_model(name, tmp_path / "weights")
    assert str(caught.value).endswith(f"; did you mean {suggestion}?")
    assert f"{tmp_path}/work or {tmp_path}/weights" in str(caught.value)
    assert not (tmp_path / "weights").exists()


# ---- downloads ------------------------------------------------------------------------------------------------------


def test_without_a_network_there_are_three_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_model("yolo26n.pt", Path("weights"))
    message = str(caught.value)
    assert "could not be downloaded (ConnectionError: no network in this test). Three ways out:" in message
    ways = message.splitlines()[1:]
    assert [way.strip()[:2] for way in ways] == ["1.", "2.", "3."]
    assert str(tmp_path / "work" / "weights" / "yolo26n.pt") in ways[0]
    assert "model=path/to/best.pt" in ways[1]
    assert "model=yolo26n.yaml" in ways[2]
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("error", [ConnectionError("reset"), OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_download_that_breaks_off_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def half(file: str, **_: Any) -> str:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_bytes(b"PK\x03\x04 the first half")
        raise error

    monkeypatch.setattr(downloads, "attempt_download_asset", half)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ModelError):
        resolve_model("yolo26n.pt", tmp_path / "weights")
    assert files_below(tmp_path) == []


def test_a_download_that_brings_nothing_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "attempt_download_asset", lambda file: file)
    with pytest.raises(ModelError, match="could not be downloaded"):
        resolve_model("yolo26n.pt", tmp_path / "weights")
    assert files_below(tmp_path) == []


def test_what_was_downloaded_lies_whole_in_the_folder_of_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bring(file: str) -> str:
        Path(file).write_bytes(b"weights")
        return file

    weights = tmp_path / "o'brien" / "weights"  # Ultralytics would drop the apostrophe
    monkeypatch.setattr(downloads, "attempt_download_asset", bring)
    assert resolve_model("yolo26n.pt", weights) == weights / "yolo26n.pt"
    assert (weights / "yolo26n.pt").read_bytes() == b"weights"
    assert files_below(tmp_path) == ["o'brien/weights/yolo26n.pt"]


# ---- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector() -> Any:
    return DetectionModel("yolo26n.yaml", nc=3, verbose=False)


@pytest.fixture(scope="module")
def checkpoint(detector: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "best.pt"
    torch.save({"model": detector.half(), "train_args": {"task": "detect"}}, path)
    return path


@pytest.mark.parametrize("place", ["best.pt", "o'brien/best.pt", "old/yolov5n.pt", " blank .pt", "grün/bést.pt"])
def test_a_good_checkpoint_is_loaded_from_wherever_it_lies(
    tmp_path: Path, checkpoint: Path, detector: Any, place: str
) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(checkpoint)
    model = load_weights(path)
    assert type(model) is DetectionModel
    assert (model.task, model.pt_path) == ("detect", str(path))
    expected = detector.state_dict()
    for name, value in model.state_dict().items():
        assert value.dtype == (torch.float32 if expected[name].is_floating_point() else expected[name].dtype)
        assert torch.equal(value, expected[name].to(value.dtype))


def test_a_missing_file_is_named_and_not_looked_for_on_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(downloads, "attempt_download_asset", asked.append)
    for name in ("yolo26n.pt", "yolov5n.pt", "sub/best.pt"):
        with pytest.raises(ModelError, match="no such file") as caught:
            load_weights(Path(name))
        assert str(tmp_path / "work" / name) in str(caught.value)
    assert asked == []


@pytest.mark.parametrize("share", [0.0, 1e-7, 1e-6, 0.001, 0.5, 0.999])
def test_a_cut_off_checkpoint_is_called_unreadable(tmp_path: Path, checkpoint: Path, share: float) -> None:
    content = checkpoint.read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=r"cut\.pt: not a checkpoint that can be read; get the file again"):
        load_weights(path)


@pytest.mark.parametrize(
    "content", [b"hello\n", b"<html>404</html>", b"version https://git-lfs", bytes(5000), b"\x80\x04\x95"]
)
def test_a_file_of_another_kind_is_called_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"best\.pt: not a checkpoint that can be read") as caught:
        load_weights(path)
    assert "weights_only" not in str(caught.value)  # torch advises to switch the protection off
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{"weights": torch.zeros(2)}, {"model": {"conv": torch.zeros(2)}}, {"model": None}])
def test_bare_weights_are_told_apart_from_a_model(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(ModelError, match=r"best\.pt: holds no model, perhaps its bare weights"):
        load_weights(tmp_path / "best.pt")


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "text"])
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(ModelError, match=r"best\.pt: not a checkpoint that can be read"):
        load_weights(tmp_path / "best.pt")


@pytest.mark.parametrize(
    ("kind", "name", "task"),
    [(SegmentationModel, "yolo26n-seg.yaml", "segment"), (ClassificationModel, "yolo26n-cls.yaml", "classify")],
)
@pytest.mark.parametrize("arguments", [{}, {"train_args": {"task": "detect"}}])
def test_a_model_for_another_task_is_refused_by_its_head(
    tmp_path: Path, kind: Any, name: str, task: str, arguments: dict[str, Any]
) -> None:
    torch.save({"model": kind(name, verbose=False), **arguments}, tmp_path / "best.pt")
    with pytest.raises(ModelError, match=rf"best\.pt: a model for the task '{task}', not for detection"):
        load_weights(tmp_path / "best.pt")


def test_a_torchscript_archive_is_called_by_its_name(tmp_path: Path) -> None:
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.save(torch.jit.script(torch.nn.Identity()), tmp_path / "best.pt")
    with pytest.raises(ModelError, match="a TorchScript archive, not a checkpoint"):
        load_weights(tmp_path / "best.pt")
