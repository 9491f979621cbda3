"""What the report shows of the augmentation: the contract of a run as a table, and the pictures of its preview."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..augment.entry_measure import WHOLE
from ..data.picture_headers import picture_headers
from ..findings import Finding
from ..policy import PROBABILITIES
from ..runs import Run
from ..transform_words import spell
from .data_page import finding_record

HEADINGS = ("entry", "setting", "acts on", "boxes", "size", "contrast", "noise", "mean", "ms")
CAPTION = (
    "Acts on: share of the pictures in training. Boxes: how many come out for those that go in (mosaic, mixup and "
    "cutmix bring in those of other pictures), and with a + how many objects were pasted; hidden: boxes whose object "
    "cannot be made out any more. Size: a box against the "
    "object in it, after turning. Contrast: object against surround, after / before, of the class that loses most. "
    "Noise: as a multiple of that contrast, of the noisiest class. Mean: its shift, of 255 grey levels. ms: time per "
    "picture."
)
_UNSEEN = "The pictures of the augmentation cannot be shown"
# Finding -> heading of the figure that it is about.
_ABOUT = {
    "augment.boxes_lost": "boxes",
    "augment.objects_hidden": "boxes",
    "augment.nothing_pasted": "boxes",
    "augment.boxes_grown": "size",
    "augment.boxes_small": "size",
    "augment.contrast_lost": "contrast",
    "augment.contrast_raised": "contrast",
    "augment.noise": "noise",
    "augment.shift": "mean",
    "augment.black": "mean",
    "augment.never": "acts on",
    "augment.slow": "ms",
}


@dataclass(frozen=True)
class Cell:
    """One figure; `of`: the class whose it is; `odd`: a finding, other than a note, is about it."""

    text: str
    of: str = ""
    odd: bool = False


@dataclass(frozen=True)
class EntryRow:
    """An entry of the policy, or the whole stage, in the order of `HEADINGS`.

    Args:
        name: of the entry.
        cells: the figures after the name; empty if the entry could not be measured.
        failure: why it could not be measured.
        findings: records of `Finding.to_dict` that are about it.
    """

    name: str
    cells: tuple[Cell, ...]
    failure: str
    findings: tuple[Mapping[str, Any], ...]


def view(run: Run) -> dict[str, Any] | None:
    """Return what the template shows of the augmentation, or None where the run has no contract.

    Raises:
        RunError: the record is damaged.
    """
    record = run.contract
    if not record:
        return None
    return {
        "about": about(record),
        "headings": HEADINGS,
        "rows": entry_rows(record),
        "caption": CAPTION,
        "findings": [finding_record(Finding.from_dict(finding)) for finding in other_findings(record)],
        "cost": cost_words(record),
        **_preview(run),
    }


def about(record: Mapping[str, Any]) -> str:
    """Return in words what was measured: which policy, on how many pictures."""
    name = record["policy"].get("name")
    policy = (
        f"The policy {name}" if name else "No policy is named: Ultralytics' own stage, as the configuration sets it,"
    )
    pictures = len(record["pictures"])
    if len(record["entries"]) < 2:
        return "Pictures are trained as they are: the policy has no entries."
    return (
        f"{policy} was measured on {pictures} training pictures at {record['imgsz']} px. Each entry was made to act on "
        "every one of them; the last row is the whole stage as it is trained."
    )


def cost_words(record: Mapping[str, Any]) -> str:
    """Return what loading costs beside a training step; empty where it was not measured."""
    return str((record.get("cost") or {}).get("words") or "")


def entry_rows(record: Mapping[str, Any]) -> list[EntryRow]:
    """Return a row for each measured entry and, last, for the whole stage.

    Args:
        record: of `Contract.to_dict`.
    """
    return [_entry_row(record, entry) for entry in record["entries"]]


def other_findings(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the findings that are about no entry of the table."""
    names = {entry["entry"] for entry in record["entries"]}
    return [finding for finding in record["findings"] if finding["evidence"].get("entry") not in names]


def _entry_row(record: Mapping[str, Any], entry: Mapping[str, Any]) -> EntryRow:
    name = entry["entry"]
    findings = tuple(f for f in record["findings"] if f["evidence"].get("entry") == name)
    if entry["failure"]:
        return EntryRow(name, (), "could not be measured", findings)
    odd = {_ABOUT.get(f["id"], "") for f in findings if f["severity"] != "info"}
    figures = (
        (setting_words(record["policy"], entry), ""),
        (_acts_on(entry), ""),
        (_boxes(entry), ""),
        ("–" if entry["inflation"] is None else f"×{entry['inflation']:.2f}", ""),
        _contrast(entry),
        _noise(entry),
        (f"{entry['mean_shift']:+.0f}" if abs(entry["mean_shift"]) >= 0.5 else "0", ""),
        (milliseconds(entry["milliseconds"]), ""),
    )
    cells = (Cell(text, of, head in odd) for head, (text, of) in zip(HEADINGS[1:], figures, strict=True))
    return EntryRow(name, tuple(cells), "", findings)


def setting_words(policy: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """Return how strongly an entry is set: as the contract says it, or as the policy has it written down."""
    name = entry["entry"]
    if entry.get("setting"):
        return str(entry["setting"])
    if name in PROBABILITIES or name in {WHOLE, "copy_paste"}:
        return "as trained" if name == WHOLE else ""
    if name in policy:
        return spell(policy[name])
    parameters = _parameters(policy["transforms"], name)
    return ", ".join(f"{key} {spell(value)}" for key, value in parameters.items() if key != "p")


def _parameters(transforms: Sequence[Mapping[str, Any]], entry: str) -> Mapping[str, Any]:
    """Return the parameters of a transform by the name of its entry: `GaussNoise#2` is the second one."""
    name, _, number = entry.partition("#")
    given = [spec[name] for spec in transforms if name in spec]
    position = int(number or 1) - 1
    return given[position] if position < len(given) else {}


def _acts_on(entry: Mapping[str, Any]) -> str:
    if entry["entry"] == WHOLE:
        return ""
    return "all" if entry["probability"] == 1 else f"{100 * entry['probability']:.3g} %"


def _boxes(entry: Mapping[str, Any]) -> str:
    kept = "–" if entry["survival"] is None else f"{100 * entry['survival']:.0f} %"
    pasted = sum(entry["pasted"].values())
    hidden = f"{100 * (entry.get('hidden') or 0):.0f}"  # a record of an older version does not say
    return kept + (f" +{pasted}" if pasted else "") + (f", {hidden} % hidden" if hidden != "0" else "")


def _contrast(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the lowest ratio and its class, which does not matter where the contrast is what it was."""
    ratios = {name: ratio for name, (ratio, _) in entry["contrast"].items()}
    if not ratios:
        return "–", ""
    lowest = min(ratios, key=ratios.__getitem__)
    text = f"×{ratios[lowest]:.2f}"
    return text, "" if text == "×1.00" else lowest


def _noise(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the highest noise and its class, which does not matter where the noise is no higher than before."""
    values = {name: after for name, (after, _) in entry["noise"].items()}
    if not values:
        return "–", ""
    highest = max(values, key=values.__getitem__)
    after, before = entry["noise"][highest]
    return f"{after:.2f}", highest if after > 1.05 * before else ""


def milliseconds(value: float) -> str:
    """Return a time per picture; what is shorter than can be measured is said to be so."""
    return "< 0.1" if value < 0.1 else f"{value:.1f}"


def _preview(run: Run) -> dict[str, Any]:
    """Return the preview as a data URI with its size in px, or why it cannot be shown."""
    shown: dict[str, Any] = {"picture": "", "width": 0, "height": 0, "missing": ""}
    try:
        content = run.preview.read_bytes()
    except FileNotFoundError:
        return shown
    except OSError as error:
        return {**shown, "missing": f"{_UNSEEN}: {error}"}
    header = picture_headers([run.preview]).row(0, named=True)
    if header["detail"]:
        return {**shown, "missing": f"{_UNSEEN}: {header['detail']}"}
    uri = "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")
    return {**shown, "picture": uri, "width": header["width"], "height": header["height"]}
