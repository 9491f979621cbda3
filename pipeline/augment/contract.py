"""The contract: a policy is measured on the pictures it will train on; read `check_contract` from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..config import Config, ContractConfig
from ..data.dataset import Dataset
from ..findings import Finding, worst_first
from ..policy import Policy, entries
from ..transform_specs import strength, weaker
from ..transform_words import spell
from .copy_paste import Plan
from .entry_measure import WHOLE, EntryMeasure
from .judge import COLOUR, Violation, doubtful, named, violations
from .measure import Measure
from .stage import Stage
from .used_pictures import choose_pictures, thinned

_STEPS = (0.7, 0.5, 0.35, 0.2, 0.1)  # of the strength, tried in turn for a value that keeps the contract
_KNOBS = ("degrees", "translate", "scale", "shear", "perspective", "hsv_h", "hsv_s", "hsv_v")
_REACHED = 0.9  # of a quota: a tenth less is what the draws of one epoch vary by for a class of a hundred boxes
_RARELY_PLACED = 0.25  # below it more tries do not help: it is the least that copy-paste makes up for
_WHOLE_DRAWS = 2  # of every picture: what acts at 30 % is seen on most of them
_DOUBTFUL_DRAWS = 4  # on the steel demo 69 objects of one draw do not prove that 9 % are hidden
_WHOLE_SHARE = 0.3  # of the time: the entries need most of it


@dataclass(frozen=True)
class Contract:
    """What a policy does to the pictures of a dataset, and what is wrong with that.

    Args:
        policy: that was measured.
        imgsz: px.
        indices: rows of the pictures in the train split, thinned as for the training.
        measures: one for each entry and, last, for the whole stage; entries that there was no time for are left out.
        findings: worst first.
        train_pictures: number of pictures that are trained on.
        reading: seconds for reading one picture.
        seconds: that the check took.
    """

    policy: Policy
    imgsz: int
    indices: tuple[int, ...]
    measures: tuple[EntryMeasure, ...]
    findings: tuple[Finding, ...]
    train_pictures: int
    reading: float
    seconds: float

    @property
    def whole(self) -> EntryMeasure:
        """The measure of the whole stage."""
        return self.measures[-1]

    @property
    def loading(self) -> float:
        """Seconds that one loader process spends on one picture once it has been read: the stage alone."""
        return self.whole.milliseconds / 1000

    def _setting(self, entry: str) -> str:
        return setting(self.policy, entry) if entry in entries(self.policy) else ""

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON and for the run's `contract.json`."""
        return {
            "policy": self.policy.model_dump(mode="json"),
            "imgsz": self.imgsz,
            "pictures": list(self.indices),
            "entries": [{**measure.to_dict(), "setting": self._setting(measure.entry)} for measure in self.measures],
            "findings": [finding.to_dict() for finding in self.findings],
            "reading_milliseconds": round(self.reading * 1000, 2),
            "seconds": round(self.seconds, 2),
        }


def check_contract(
    train: Dataset, config: Config, *, transforms: Sequence[Any] = (), budget: float | None = None
) -> Contract:
    """Measure the policy of a configuration on a train split and judge it.

    Args:
        train: the train split; only its pictures are read.
        config: of the training; `augment`, `contract`, `train.imgsz`, `.rect` and `.fraction` are what counts.
        transforms: Albumentations objects to be measured as well, whether or not a policy may hold them.
        budget: seconds; entries that it does not suffice for are named in a finding. None: all are measured.

    Raises:
        ConfigError: the policy cannot be built on this data, such as a quota for a class that it does not have.
        DataError: a picture cannot be read.
    """
    started = time.monotonic()
    until = None if budget is None else started + budget
    policy, limits, imgsz = config.augment, config.contract, int(config.train.imgsz)
    train = trained_pictures(train, config)
    indices = choose_pictures(train, limits.pictures)
    stage = Stage(train, indices, policy, imgsz, rect=bool(config.train.rect))
    measure = Measure(stage, train.names, indices)
    whole = measure.whole(policy, _WHOLE_DRAWS, until=None if budget is None else started + _WHOLE_SHARE * budget)
    measures: list[EntryMeasure] = []
    findings: list[Finding] = []
    for transform in transforms:
        measures.append(measure.transform(transform))
        findings += _findings(measures[-1], violations(measures[-1], limits), policy, ())
    measured_objects = len(findings)
    left = list(entries(policy))
    while left and (until is None or time.monotonic() < until):
        entry = left.pop(0)
        measures.append(_measured(measure, entry, policy, limits, until))
        found = violations(measures[-1], limits)
        findings += _findings(measures[-1], found, policy, _mended(measure, entry, policy, found, limits, until))
    own = measures[len(transforms) :]
    if not (left or whole.failure or any(one.failure for one in own)):
        whole = replace(whole, milliseconds=expected_milliseconds(measure.plain_seconds * 1000, own))
    findings += _together(whole, policy, limits, findings[measured_objects:])
    findings += _quotas(whole, policy, stage.plans) + _not_measured(left, budget)
    seconds = time.monotonic() - started
    ordered = tuple(worst_first(findings))
    return Contract(
        policy=policy,
        imgsz=imgsz,
        indices=tuple(indices),
        measures=(*measures, whole),
        findings=ordered,
        train_pictures=train.images.height,
        reading=measure.reading,
        seconds=seconds,
    )


def trained_pictures(train: Dataset, config: Config) -> Dataset:
    """Return the pictures of the train split that `train.fraction` leaves."""
    return thinned(train, config.train.fraction)


def expected_milliseconds(plain: float, measures: Sequence[EntryMeasure]) -> float:
    """Return the mean time of the stage for a picture: what it takes by itself, and each entry as often as it acts.

    Not the time of some draws: what costs 100 ms at p 0.3 is in two or in five of eight.
    """
    return plain + sum(measure.probability * measure.milliseconds for measure in measures)


def _together(whole: EntryMeasure, policy: Policy, limits: ContractConfig, told: Sequence[Finding]) -> list[Finding]:
    """Judge the stage as trained; what an entry does by itself to a class is not told a second time."""
    found = violations(whole, limits) if entries(policy) else []
    if whole.grey and all(entry.partition("#")[0] in COLOUR for entry in entries(policy)):
        found = [replace(v, severity="info") if v.id == "augment.no_effect" else v for v in found]
    known: dict[str, set[str]] = {}
    for finding in told:
        known.setdefault(finding.id, set()).update(_classes(finding.evidence))
    new = [
        violation
        for violation in found
        if violation.severity == "error"
        or violation.id not in known
        or _classes(violation.figures) - known[violation.id]
    ]
    return _findings(whole, new, policy, ())


def _classes(figures: Mapping[str, Any]) -> set[str]:
    """Return the classes that the figures of a violation speak of."""
    return {name for value in figures.values() if isinstance(value, Mapping) for name in value}


def weakened(policy: Policy, entry: str, share: float) -> Policy | None:
    """Return the policy of this entry alone at a share of its strength; None if it has no strength to lower."""
    only = policy.only(entry)
    if entry in _KNOBS:
        value = policy[entry]
        if isinstance(value, list):
            return only.replaced(**{entry: [round(1 + (end - 1) * share, 4) for end in value]})
        return only.replaced(**{entry: round(value * share, 4)})
    spec = weaker(only.transforms[0], share) if only.transforms else None
    return None if spec is None else only.replaced(transforms=[spec])


def setting(policy: Policy, entry: str) -> str:
    """Return in words how strongly an entry is set."""
    only = policy.only(entry)
    if only.transforms:
        return strength(only.transforms[0])
    return "" if entry == "copy_paste" else spell(policy[entry])


def _measured(
    measure: Measure, entry: str, policy: Policy, limits: ContractConfig, until: float | None
) -> EntryMeasure:
    """Measure an entry; once more, on more draws, where it is in doubt whether it hides objects."""
    found = measure.entry(entry, policy, until=until)
    if not doubtful(found, limits) or (until is not None and time.monotonic() > until):
        return found
    return measure.entry(entry, policy, draws=_DOUBTFUL_DRAWS, until=until)


def _mended(
    measure: Measure,
    entry: str,
    policy: Policy,
    found: Sequence[Violation],
    limits: ContractConfig,
    until: float | None,
) -> dict[str, Policy | None]:
    """Return for each violation the strongest tried setting without any of them, measured.

    Where no setting mends them all: the strongest without this one, or None. What there was no time to try for is left
    out.
    """
    mended: dict[str, Policy | None] = {violation.id: None for violation in found if violation.weaker_helps}
    for share in _STEPS if mended else ():
        milder = weakened(policy, entry, share)
        name = entries(milder)[0] if milder is not None and entries(milder) else ""
        if milder is None or not name:
            break
        left = violations(_measured(measure, name, milder, limits, until), limits)
        if until is not None and time.monotonic() > until:  # cut short: too few pictures to promise anything
            return {finding_id: known for finding_id, known in mended.items() if known is not None}
        if any(violation.severity == "error" for violation in left):
            continue
        if not any(named(left, finding_id) for finding_id in mended):
            return dict.fromkeys(mended, milder)
        for finding_id, better in mended.items():
            if better is None and not named(left, finding_id):
                mended[finding_id] = milder
    return mended


def _findings(
    measure: EntryMeasure, found: Sequence[Violation], policy: Policy, mended: dict[str, Policy | None] | tuple[()]
) -> list[Finding]:
    findings = []
    for violation in found:
        acts = (
            "" if measure.entry == WHOLE or measure.probability == 1 else f" where it acts (p {measure.probability:g})"
        )
        subject = "The whole augmentation stage" if measure.entry == WHOLE else measure.entry
        message = f"{subject} {violation.text}{acts if violation.weaker_helps else ''}."
        evidence = {"entry": measure.entry, "p": measure.probability, **violation.figures}
        advice = _advice(violation, measure.entry, policy, dict(mended))
        findings.append(Finding(violation.id, violation.severity, message, evidence, advice))
    return findings


def _advice(violation: Violation, entry: str, policy: Policy, mended: dict[str, Policy | None]) -> str:
    if violation.id == "augment.library":
        return "see the message: it says how to put the right one in place"
    if entry == WHOLE and violation.weaker_helps:
        return "see the findings of its entries; where there are none, they add up: lower the p of the strongest"
    if entry == WHOLE:
        return "see the findings of its entries; augment=none trains without augmentation"
    knob = entry in entries(policy) and not policy.only(entry).transforms
    where = f"augment.{entry}={'null' if entry == 'copy_paste' else 0}" if knob else f"drop {entry} from the policy"
    if violation.id not in mended:
        return f"{where}"
    milder = mended[violation.id]
    if milder is None:
        return f"{where}: no weaker setting that was tried keeps the limit"
    name = entries(milder)[0]
    if entry in _KNOBS:
        return f"augment.{entry}={milder[entry]} instead of {policy[entry]}: there the limit is kept; or {where}"
    return f"{entry}: {setting(milder, name)} instead of {setting(policy, entry)}: there the limit is kept; or {where}"


def _quotas(whole: EntryMeasure, policy: Policy, plans: Sequence[Plan]) -> list[Finding]:
    """Say where copy-paste falls short of what it was told to do."""
    if policy.copy_paste is None or whole.failure:
        return []
    found = [_short_of(plan, policy.copy_paste.per_picture) for plan in plans if plan.reached < _REACHED * plan.wanted]
    if plans and not sum(whole.pasted.values()):
        message = f"Copy-paste pasted nothing into {whole.pictures} pictures."
        advice = "look at `tuneup preview`: objects may be as large as the pictures, or every place unlike their own"
        found.append(
            Finding("augment.nothing_pasted", "warning", message, {"entry": "copy_paste", "pasted": 0}, advice)
        )
    return found


def _short_of(plan: Plan, per_picture: int) -> Finding:
    kind = plan.kind or "small objects"
    message = (
        f"Copy-paste will bring {kind} to {plan.reached:.0%} of the boxes, not to {plan.wanted:.0%}: a place that fits "
        f"is found for {plan.placed:.0%} of the objects, and at most {per_picture} are pasted into a picture."
    )
    evidence = {"entry": "copy_paste", "kind": kind, "wanted": plan.wanted, "reached": plan.reached, "cuts": plan.cuts}
    rarely = plan.placed < _RARELY_PLACED
    advice = (
        f"{'lower the quota, or label' if rarely else 'raise augment.copy_paste.per_picture, or label'} more pictures "
        f"with {kind}"
    )
    return Finding("augment.quota", "warning", message, evidence, advice)


def _not_measured(left: Sequence[str], budget: float | None) -> list[Finding]:
    if not left:
        return []
    message = f"Not measured, in the {budget:.0f} s that were left for it: {', '.join(left)}."
    advice = "`tuneup contract` measures every entry; monitor.preflight=SECONDS changes the time allowed"
    return [Finding("augment.not_measured", "info", message, {"entries": list(left)}, advice)]
