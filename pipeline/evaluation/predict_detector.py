"""A detector as it is shipped: which head it uses, in which precision, and what it finds in a batch of inputs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision  # type: ignore[import-untyped]  # noqa: F401  # Ultralytics' NMS is faster where it is loaded
from numpy.typing import NDArray
from ultralytics.utils.nms import non_max_suppression

from ..errors import UsageError
from ..model_source import load_weights

NEVER = 1e9  # seconds: Ultralytics' NMS stops half-way through a batch when it takes long, and drops the rest
FIRST_CANDIDATES = 4096  # for NMS; see `_suppress`
MOST_CANDIDATES = 30_000  # Ultralytics' own limit
# Pixels of a batch on a CPU. YOLO26n on one core: at 640 px 82 ms per picture in batches of 1 to 4, 100 ms of 8 or
# 16; at 320 px 29 ms in batches of 1, 24 of 4, 22 of 8, 20 of 16.
CPU_PIXELS = 4 * 640 * 640


@dataclass(frozen=True)
class PredictSettings:
    """How to predict.

    Args:
        imgsz: long side of the network's input, in pixels.
        conf: least confidence.
        iou: overlap above which NMS drops a detection.
        max_det: most detections of one input: of a picture, or of each of its tiles.
        batch: inputs at once; on a CPU at most `CPU_PIXELS` of them together, more is slower there.
        device: empty for the first GPU, or the CPU where there is none.
        half: compute with 16-bit numbers; needs a CUDA device.
        head: "nms", "end2end" for the head that needs no NMS, or "auto", see `choose_head`.
        tile: side of a tile in pixels of the original picture; None predicts pictures whole.
        overlap: fraction of a tile's side that neighbours share. An object up to that size is seen whole by some tile.
    """

    imgsz: int
    conf: float
    iou: float
    max_det: int
    batch: int
    device: str = ""
    half: bool = False
    head: str = "auto"
    tile: int | None = None
    overlap: float = 0.2  # SAHI's default (github.com/obss/sahi), which others have taken over


@dataclass(frozen=True)
class Found:
    """What a batch shows: for each input [k, 6] corners in pixels of the input, score and class, best first."""

    rows: list[NDArray[np.float64]]
    seconds: dict[str, float]  # of the stages network and nms


@dataclass(frozen=True)
class Detector:
    """A network that is ready to detect.

    Args:
        names: its class names.
        head: "nms", or "end2end" for the head that needs none.
        imgsz: long side of an input, in pixels, a multiple of `stride`.
        batch: inputs at once.
    """

    model: Any
    device: torch.device
    names: tuple[str, ...]
    head: str
    imgsz: int
    stride: int
    batch: int
    settings: PredictSettings

    @classmethod
    def load(cls, weights: Path, settings: PredictSettings, device: torch.device) -> Detector:
        """Read a checkpoint and make it as fast as it ships: convolutions and BatchNorm fused, the other head left out.

        Raises:
            ModelError: the checkpoint cannot be read, or holds no YOLO detector.
            UsageError: the model has no such head, or the device no such precision.
        """
        if settings.half and device.type != "cuda":
            raise UsageError(f"half: 16-bit numbers need a CUDA device, this is '{device}'; leave it out")
        model = load_weights(weights).to(device).eval()
        head = choose_head(weights, model.model[-1], settings.head)
        model.end2end = head == "end2end"
        model.set_head_attr(max_det=max(settings.max_det, 300))  # of the NMS-free head; `yolo predict` does the same
        model.fuse(verbose=False)
        if settings.half:
            model.half()
        if device.type == "cpu":
            model.to(memory_format=torch.channels_last)  # 144 -> 100 ms per picture (YOLO26n, 640 px, one core)
        stride = int(max(model.stride.max(), 32))
        imgsz = -(-settings.imgsz // stride) * stride
        most = max(1, CPU_PIXELS // imgsz**2) if device.type == "cpu" else settings.batch
        return cls(
            model=model,
            device=device,
            names=tuple(str(model.names[index]) for index in range(len(model.names))),
            head=head,
            imgsz=imgsz,
            stride=stride,
            batch=min(settings.batch, most),
            settings=settings,
        )

    def detect(self, inputs: Sequence[NDArray[np.uint8]]) -> Found:
        """Detect in inputs of one shape, uint8 [height, width, 3] in RGB order."""
        started = time.perf_counter()
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(inputs)).to(self.device).permute(0, 3, 1, 2)
            if self.device.type != "cpu":
                batch = batch.contiguous()  # else it is channels last in memory, which is faster on a CPU only
            batch = (batch.half() if self.settings.half else batch) / 255
            predictions = self.model(batch)[0]
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            between = time.perf_counter()
            rows = [item.double().cpu().numpy() for item in self._suppress(predictions)]
        return Found(rows, {"network": between - started, "nms": time.perf_counter() - between})

    def _suppress(self, predictions: Any) -> list[Any]:
        """Apply Ultralytics' NMS, on the best candidates first.

        NMS goes from the best candidate down, so what it keeps of the first ones does not depend on the rest: where
        they fill `max_det`, or where there are no more, the result is that of all candidates.
        """
        if self.head == "end2end":
            return self._nms(predictions, MOST_CANDIDATES)
        found = self._nms(predictions, FIRST_CANDIDATES)
        counts = (predictions[:, 4:] > self.settings.conf).sum((1, 2)).tolist()
        for index, count in enumerate(counts):
            if count > FIRST_CANDIDATES and len(found[index]) < self.settings.max_det:
                found[index] = self._nms(predictions[index : index + 1], MOST_CANDIDATES)[0]
        return found

    def _nms(self, predictions: Any, candidates: int) -> list[Any]:
        settings = self.settings
        found = non_max_suppression(
            predictions,
            settings.conf,
            settings.iou,
            multi_label=True,  # as in Ultralytics' val: a box can stand for several classes
            max_det=settings.max_det,
            max_time_img=NEVER,
            max_nms=candidates,
            end2end=self.head == "end2end",
        )
        return list(found)


def choose_head(weights: Path, head: Any, wanted: str) -> str:
    """Return "nms" or "end2end".

    Ultralytics 8.4.190's own `val`, `predict` and `export` take the head with NMS of every model that has one, YOLO26
    and YOLOv10 included, unless they are told `nms=False`; `auto` is the same.

    Raises:
        UsageError: the model has no such head.
    """
    has = {"nms": head.cv2 is not None, "end2end": getattr(head, "one2one_cv2", None) is not None}
    if wanted == "auto":
        return "nms" if has["nms"] else "end2end"
    if wanted not in has:
        raise UsageError(f"head: '{wanted}': one of auto, nms, end2end")
    if not has[wanted]:
        other = next(name for name in has if name != wanted)
        raise UsageError(f"head: {weights} has no head '{wanted}'; choose auto or {other}")
    return wanted
