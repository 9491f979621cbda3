"""How a picture lies in the network's input, and the way back into its own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PADDING = 114  # the grey that Ultralytics pads with in training


@dataclass(frozen=True)
class Letterbox:
    """How a picture lies in the network's input: scaled by `ratio`, then moved by (`left`, `top`).

    The long side becomes `imgsz`, the other is padded evenly to a multiple of the stride, as `yolo predict` does.
    """

    ratio: float
    left: int
    top: int
    inner: tuple[int, int]  # (height, width) of the scaled picture
    shape: tuple[int, int]  # (height, width) of the network's input

    @classmethod
    def fit(cls, height: int, width: int, imgsz: int, stride: int) -> Letterbox:
        """Return how a picture of this size lies in an input of size `imgsz`, a multiple of `stride`."""
        ratio = min(imgsz / height, imgsz / width)
        inner = (max(1, round(height * ratio)), max(1, round(width * ratio)))
        shape = (-(-inner[0] // stride) * stride, -(-inner[1] // stride) * stride)
        return cls(ratio, (shape[1] - inner[1]) // 2, (shape[0] - inner[0]) // 2, inner, shape)

    def place(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the network's input, uint8 [height, width, 3]."""
        if picture.shape[:2] != self.inner:
            picture = np.asarray(
                cv2.resize(picture, (self.inner[1], self.inner[0]), interpolation=cv2.INTER_LINEAR), np.uint8
            )
        if self.inner == self.shape:
            return picture
        canvas = np.full((*self.shape, 3), PADDING, np.uint8)
        canvas[self.top : self.top + self.inner[0], self.left : self.left + self.inner[1]] = picture
        return canvas

    def to_original(self, xyxy: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
        """Return boxes [n, 4] of the network's input as corners in pixels of the original picture, clipped to it."""
        scale = np.array([width / self.inner[1], height / self.inner[0]] * 2)
        moved = (xyxy - (self.left, self.top) * 2) * scale
        return np.asarray(np.clip(moved, 0.0, (width, height) * 2))
