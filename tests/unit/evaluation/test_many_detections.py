"""Five million detections: the right answer, in the memory that a laptop has."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.average_precision import scores
from pipeline.evaluation.matching import match
from pipeline.evaluation.tables import Detections, Truth


def test_five_million_detections_have_the_average_precision_that_can_be_told_by_hand() -> None:
    pictures, each = 50_000, 100
    box = np.tile([10.0, 10.0, 60.0, 60.0], (pictures, 1))
    extent, plain = np.full(pictures, 2500.0), np.zeros(pictures, np.bool_)
    image = np.arange(pictures, dtype=np.int32)
    sizes, class_id = np.full((pictures, 2), 640.0), np.zeros(pictures, np.int32)
    truth = Truth(("pit",), np.arange(pictures), sizes, image, class_id, box, extent, extent, plain, plain)
    found = np.tile([300.0, 300.0, 350.0, 350.0], (pictures * each, 1))
    # The surest detection of every other picture is right, so precision is 1/2 all the way down to a recall of 1/2.
    found[::each][::2] = box[::2]
    score = np.tile(np.linspace(0.9, 0.1, each), pictures)
    detections = Detections(
        np.repeat(image, each), np.zeros(len(score), np.int32), score, found, np.full(len(score), 2500.0)
    )
    measured = scores(match(truth, detections))
    assert measured.recall[0, :, 0].tolist() == [0.5] * 10
    # Ties go by picture: after the first hit it is 1, after picture 2k+1 (k+1)/(2k+1), the best of the rest is beyond.
    k = np.arange(pictures // 2)
    at_hit = (k + 1) / (2 * k + 1)
    reached = np.searchsorted((k + 1) / pictures, np.linspace(0, 1, 101)[:51], side="left")
    assert measured.precision[0, 0, 0] == pytest.approx(np.append(at_hit[reached], np.zeros(50)).mean(), abs=1e-12)
