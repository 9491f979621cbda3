"""What an advice says to turn: from the texts of findings to configuration keys with values. No training, no files.

An advice begins with `train.lr0=0.002: why` where a knob can be turned, with `one=1 with two=2: why` where knobs belong
together. Only that beginning is read, whole or not at all: an advice of which one part is no setting gives no knob.
Where it says to drop a transform from the policy, the knob is the list of transforms without it; a milder setting of it
that such an advice names first is for a person to write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import Config, config_from_dict, settle
from .errors import ConfigError
from .findings import SEVERITIES, Finding
from .policy import Policy
from .yaml_source import flow

_VALUE = r"(?:\[[^\[\]]*\]|[^\s:;,()\[\]]+)"
_KNOB = rf"[a-z][\w.]*={_VALUE}"
_BEGINNING = re.compile(rf"({_KNOB}(?: with {_KNOB})*)(?: instead of {_VALUE})?(?::\s|;\s|$)")
# What decides on a training and leaves its pictures and boxes as they are; without these two runs cannot be compared.
_TURNED = re.compile(r"model|train\.(?!seed$|fraction$)\w+|augment\.\w+|monitor\.clip")
_DROPPED = re.compile(r"(?:^|; or )drop (\S+) from the policy(?::\s|;\s|$)")
_STANDS_FOR_SOMETHING = {"CONFIG", "DATA", "FILE", "FOLDER", "NAME", "PATH", "RUN", "SECONDS"}
_LAST = "RUN/weights/last.pt"


@dataclass(frozen=True)
class Knob:
    """A key of the configuration and the value that an advice gives it, both as on a command line."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


def knobs_of(finding: Finding, last: Path | None = None) -> tuple[Knob, ...]:
    """Return the knobs that the advice of a finding says to turn together; none where it says something else.

    Args:
        finding: of any source.
        last: what `RUN/weights/last.pt` stands for; None where there are no such weights.
    """
    beginning = _BEGINNING.match(finding.advice)
    if beginning is None:
        return ()
    texts = re.split(rf" with (?={_KNOB})", beginning[1])
    knobs = tuple(Knob(key, value) for key, _, value in (text.partition("=") for text in texts))
    once = len({knob.key for knob in knobs}) == len(knobs)
    if not once or not all(_can_be_turned(knob, last) for knob in knobs):
        return ()
    if last is not None:
        knobs = tuple(Knob(k.key, str(last.absolute())) if k.value == _LAST else k for k in knobs)
    return knobs if _is_accepted(knobs) else ()


def _dropped(finding: Finding, policy: Policy) -> tuple[str, tuple[Knob, ...]]:
    """Return the transform that an advice says to drop and the knob that does; nothing where it says something else."""
    found = _DROPPED.search(finding.advice)
    if found is None:
        return "", ()
    try:
        left = policy.without(found[1])
    except KeyError:
        return "", ()
    return found[1], (Knob("augment.transforms", flow(left.transforms)),)


def _can_be_turned(knob: Knob, last: Path | None) -> bool:
    is_known = knob.value == _LAST and last is not None
    return bool(_TURNED.fullmatch(knob.key)) and (is_known or not _STANDS_FOR_SOMETHING & set(knob.value.split("/")))


def _is_accepted(knobs: Sequence[Knob]) -> bool:
    try:
        config_from_dict({}, [str(knob) for knob in knobs])
    except ConfigError:
        return False
    return True


@dataclass(frozen=True)
class Suggestion:
    """A finding, and what would be turned to mend it.

    Args:
        finding: of a run.
        knobs: that belong together; empty where no setting mends it.
        now: what the run has for each of them, as `key value`.
        why_not: in words why nothing can be turned; "" where something can.
        dropped: the transform that the knob drops from the policy, by its name there.
    """

    finding: Finding
    knobs: tuple[Knob, ...] = ()
    now: tuple[Any, ...] = ()
    why_not: str = ""
    dropped: str = ""

    @property
    def is_turnable(self) -> bool:
        """Whether a verification may begin with it: an error or warning that settings can mend."""
        return bool(self.knobs) and not self.why_not and self.finding.severity != "info"

    @property
    def overrides(self) -> list[str]:
        """The knobs as `key=value` texts."""
        return [str(knob) for knob in self.knobs]

    def to_dict(self) -> dict[str, Any]:
        """Return the record fit for JSON."""
        now = dict(zip((knob.key for knob in self.knobs), self.now, strict=True))
        return {
            **self.finding.to_dict(),
            "knobs": {knob.key: knob.value for knob in self.knobs},
            "now": now,
            "turnable": self.is_turnable,
            "why_not": self.why_not,
        }


def suggestions(
    findings: Sequence[Finding], config: Config, *, order: Sequence[str] = (), last: Path | None = None
) -> tuple[Suggestion, ...]:
    """Return what would be turned for each finding of a run: the worst first, among equals the cause first.

    Among equals come the checks before the training, which try settings out on their own, then what the diagnosis
    says, then augmentation and data; among errors augmentation comes first, for what it makes of the pictures is what
    the network was tried on. What the diagnosis found once and would not find any more comes after what it
    still finds, and more epochs come last: they cost more, and whatever else is wrong would be trained with for longer.

    Args:
        findings: of the run.
        config: of the run.
        order: ids as the diagnosis has them now, causes first.
        last: as for `knobs_of`.
    """
    place = {finding_id: number for number, finding_id in enumerate(order)}

    def key(suggestion: Suggestion) -> tuple[int, bool, int, int]:
        finding = suggestion.finding
        source = finding.id.partition(".")[0]
        rank = 1 if source == "preflight" else 2 if finding.id in place else 3 if source in _DIAGNOSED else 4
        rank = 0 if source == "augment" and finding.severity == "error" else rank
        longer = any(knob.key == "train.epochs" and int(knob.value) > config.train.epochs for knob in suggestion.knobs)
        return SEVERITIES.index(finding.severity), longer, rank, place.get(finding.id, 0)

    return tuple(sorted((_suggestion(finding, config, last) for finding in findings), key=key))


_DIAGNOSED = {"amp", "gradient", "layer", "loss", "norm", "optimizer", "resume", "schedule"}


def _suggestion(finding: Finding, config: Config, last: Path | None) -> Suggestion:
    dropped, knobs = "", knobs_of(finding, last)
    if not knobs:
        dropped, knobs = _dropped(finding, config.augment)
    if not knobs:
        return Suggestion(finding, why_not="no setting mends it")
    now = tuple(value_of(config, knob.key) for knob in knobs)
    try:
        turned = settle(config, [str(knob) for knob in knobs])
    except ConfigError as error:
        return Suggestion(finding, knobs, now, f"does not fit the rest of the configuration: {error.problems[0]}")
    # `freeze=0` and none mean the same.
    same = all((value_of(turned, k.key) or None) == (old or None) for k, old in zip(knobs, now, strict=True))
    return Suggestion(finding, knobs, now, "the run has this setting already" if same else "", dropped)


def value_of(config: Config, key: str) -> Any:
    """Return what a configuration has for the key of a knob, fit for JSON."""
    section, _, name = key.partition(".")
    return config.to_dict()[section][name or "name"]
