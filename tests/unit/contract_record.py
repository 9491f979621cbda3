"""A contract as a run keeps it, made up: what the report and the terminal show is known beforehand."""

from __future__ import annotations

from typing import Any


def measured(entry: str, **changes: Any) -> dict[str, Any]:
    """Return the record of one entry that changes pictures and harms nothing."""
    record = {
        "entry": entry,
        "probability": 1.0,
        "pictures": 8,
        "failure": "",
        "changed": 1.0,
        "yielded": {"pit": 10},
        "own": {"pit": 10},
        "pasted": {},
        "inflation": 1.0,
        "contrast": {"pit": [1.0, 10], "scratch": [0.998, 6]},
        "noise": {"pit": [0.2, 0.2], "scratch": [0.1, 0.1]},
        "short_before": {},
        "short_after": {},
        "mean_shift": 0.2,
        "deviation_ratio": 1.0,
        "black": 0.0,
        "clipped": 0.0,
        "milliseconds": 1.25,
        "repeatable": True,
        "restored": "",
        "survival": 1.0,
    }
    return {**record, **changes}


def finding(key: str, severity: str, message: str, advice: str = "", **evidence: Any) -> dict[str, Any]:
    """Return the record of a finding."""
    return {"id": key, "severity": severity, "message": message, "evidence": evidence, "advice": advice}


def contract_record(**changes: Any) -> dict[str, Any]:
    """Return a contract with harmless entries, one that loses contrast, one that is noisy and one that failed."""
    transforms = [{"GaussNoise": {"p": 0.3}}, {"GaussNoise": {"std_range": [0.02, 0.05], "p": 0.1}}]
    policy = {"name": "metal", "degrees": 10.0, "mosaic": 1.0, "fliplr": 0.5, "transforms": transforms}
    entries = [
        measured("copy_paste", pasted={"pit": 7}),
        measured("mosaic", survival=1.53, milliseconds=5.0),
        measured("degrees", inflation=1.114, mean_shift=-3.2),
        measured("GaussNoise", probability=0.3, contrast={"pit": [0.41, 10], "scratch": [0.9, 6]}),
        measured("GaussNoise#2", probability=0.1, noise={"pit": [0.5, 0.2], "scratch": [0.1, 0.1]}),
        measured("RandomFog", probability=0.3, failure="augmentation RandomFog: broke", survival=None),
        measured("fliplr", probability=0.5, milliseconds=0.01, inflation=None, contrast={}, noise={}),
        measured("the whole stage", survival=1.4, milliseconds=8.0),
    ]
    findings = [
        finding("augment.failed", "error", "RandomFog cannot be used: broke.", "drop RandomFog", entry="RandomFog"),
        finding("augment.contrast_lost", "warning", "GaussNoise takes the contrast.", "lower it", entry="GaussNoise"),
        finding("augment.not_measured", "info", "Not measured: Rotate.", "measure it", entries=["Rotate"]),
    ]
    record = {
        "policy": policy,
        "imgsz": 640,
        "pictures": [0, 1, 2, 3],
        "entries": entries,
        "findings": findings,
        "reading_milliseconds": 3.21,
        "seconds": 1.5,
    }
    return {**record, **changes}
