"""Which trainings an ablation consists of, and whether one that is there already is one of them. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .ablation_result import MODES, Mode, Plan
from .config import Config, require_data
from .errors import UsageError
from .policy import Policy, entries
from .reporting.wording import short

# What decides neither on the training nor on the score: where it lies, what is shown, whether it may begin.
_ASIDE = ("name.", "runs.", "report.", "contract.", "monitor.preflight.")


def make_plan(config: Config, mode: Mode, seeds: int) -> Plan:
    """Return which trainings the ablation of a configuration's policy consists of."""
    policy, first = config.augment, int(config.train.seed)
    settings = {entry: setting(policy, entry) for entry in entries(policy)}
    return Plan(mode, policy.name or "", settings, tuple(range(first, first + seeds)), int(config.train.epochs))


def setting(policy: Policy, entry: str) -> str:
    """Return in words what an entry of a policy is set to."""
    alone = policy.only(entry)
    if alone.transforms:
        return short(next(iter(alone.transforms[0].values()))) if any(alone.transforms[0].values()) else "its defaults"
    return short(alone.copy_paste.model_dump()) if alone.copy_paste is not None else short(policy[entry])


def arm_policy(policy: Policy, plan: Plan, arm: str) -> Policy:
    """Return the policy that an arm is trained with. What is no augmentation of its own stays as it is."""
    entry = plan.arms[arm]
    if plan.mode == "leave-one-out":
        return policy if entry is None else policy.without(entry)
    alone = Policy.off() if entry is None else policy.only(entry)
    kept = {"name": policy.name, "min_visibility": policy.min_visibility, "close_mosaic": policy.close_mosaic}
    return alone.replaced(**kept)


def comparable(config: Config, mode: Mode, seeds: int) -> Config:
    """Return the configuration with the same budget for all trainings, and paths as a run keeps them.

    Raises:
        UsageError: there is nothing to compare, or the trainings would not be comparable.
        ConfigError: no data is named.
    """
    if mode not in MODES:
        raise UsageError(f"--mode {mode}: there are {' and '.join(MODES)}")
    if seeds < 2:
        raise UsageError(f"--seeds {seeds}: one training says nothing about chance; take 3 or more, 2 at least")
    if not entries(config.augment):
        raise UsageError("augment: the policy does nothing, so there is nothing to leave out; name one: augment=metal")
    if config.train.time is not None:
        raise UsageError("train.time: trainings of equal time differ in epochs; leave it out, and set train.epochs")
    if config.train.batch != int(config.train.batch) or config.train.batch < 1:
        raise UsageError(
            f"train.batch={config.train.batch}: is found anew for each training and may differ; set a number"
        )
    if config.eval.split == "train":
        raise UsageError("eval.split=train: pictures that were trained on tell nothing about augmentation; take val")
    data, own = require_data(config).absolute(), Path(config.model.name)
    name = str(own.absolute()) if own.is_file() else config.model.name
    model = {"name": name, "weights": config.model.weights.absolute()}
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"path": data}),
            "model": config.model.model_copy(update=model),
            "train": config.train.model_copy(update={"patience": config.train.epochs}),
            # A report after every epoch of every training would take a good part of the time of short ones.
            "report": config.report.model_copy(update={"every": config.train.epochs + 1}),
        }
    )


def folder_name(config: Config, mode: Mode) -> str:
    """Return the configuration's own name, or one that says what is compared on which data."""
    data = require_data(config)
    place = data.parent if data.is_file() else data
    return config.name or "-".join(part for part in (place.name, config.augment.name, mode) if part)


def differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return in words in which keys two configurations differ, but for those that do not matter."""
    old, new = dict(_flat(there)), dict(_flat(wanted))
    return [
        f"{key} {short(old.get(key))} there, {short(new.get(key))} now"
        for key in {**old, **new}
        if not f"{key}.".startswith(_ASIDE) and old.get(key) != new.get(key)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
