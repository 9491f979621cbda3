"""Plain Ultralytics meets the faults through the same doors, and what it says of them is read fairly."""

from __future__ import annotations

import json
from pathlib import Path

import catalogue
import plain
import pytest
from case import Healthy
from doors import Onset
from run import door_of
from ultralytics.models.yolo.detect import DetectionTrainer


def test_a_fault_of_ones_own_code_is_brought_in_and_taken_out_again() -> None:
    fault = next(fault for fault in catalogue.FAULTS if fault.name == "not_scaled")
    original = DetectionTrainer.preprocess_batch
    with door_of(plain.case_of(fault), Onset()):
        assert DetectionTrainer.preprocess_batch is not original
    assert DetectionTrainer.preprocess_batch is original
    with door_of(plain.case_of(Healthy("plain")), Onset()):
        assert DetectionTrainer.preprocess_batch is original


def test_every_fault_has_words_by_which_a_line_is_about_it() -> None:
    for fault in catalogue.FAULTS:
        assert (fault.name in plain.ABOUT) != (fault.needs_gpu or fault.name in plain.SAME_AS_HEALTHY), fault.name


def test_lines_that_a_healthy_training_brings_and_lists_of_settings_do_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {
        "healthy": ["INFO: 4 epochs completed in 0.012 hours.", "INFO: Logging results to /tmp/one/train"],
        "rate_low": ["INFO: optimizer: AdamW(lr=1e-07, momentum=0.937) with parameter groups", "INFO: lr0 is 4"],
        "adamw_rate_high": [
            "INFO: engine/trainer: lr0=0.1",
            "INFO: optimizer: AdamW(lr=0.1, momentum=0.937) with parameter groups",
            "INFO: 9 epochs completed in 1.5 hours.",
            "INFO: Logging results to /tmp/other/train",
        ],
        "sgd_without_warmup": ["WARNING: Loss NaN/Inf detected (attempt 1/3)"],
        "black_pictures": ["WARNING: something else"],
    }
    (tmp_path / "plain").mkdir()
    for name, messages in said.items():
        ended = "RuntimeError: NaN persisted" if name == "black_pictures" else "complete"
        record = {"fault": name, "messages": messages, "ended": ended}
        (tmp_path / "plain" / f"{name}.json").write_text(json.dumps(record))
    plain.print_scores(tmp_path)
    printed = capsys.readouterr().out
    assert "| adamw_rate_high | no | nothing | nothing |" in printed
    assert "| rate_low | yes | INFO: lr0 is 4 | nothing |" in printed
    assert "| sgd_without_warmup | yes |" in printed
    assert "| black_pictures | yes | RuntimeError: NaN persisted | WARNING: something else |" in printed
    assert "about 3 of 4," in printed
