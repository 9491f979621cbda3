"""A policy: one whole augmentation stage as plain values, from the mosaic to the last flip.

It is the section `augment` of the configuration, and by itself the content of a file in `configs/augment`. Nothing acts
beside it: the four transforms that Ultralytics adds on its own at 1 % each are left out unless the policy names them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from .known_keys import AUGMENT_KEYS
from .section import Section, known_section
from .transform_specs import check_transform

# Ultralytics' knobs in the order in which its stage applies them.
BEFORE_TRANSFORMS = ("mosaic", "degrees", "translate", "scale", "shear", "perspective", "mixup", "cutmix")
AFTER_TRANSFORMS = ("hsv_h", "hsv_s", "hsv_v", "flipud", "fliplr", "bgr")
PROBABILITIES = frozenset({"mosaic", "mixup", "cutmix", "flipud", "fliplr", "bgr"})

Spec = Annotated[dict[str, dict[str, Any]], BeforeValidator(check_transform)]


def to_list_of_two(value: Any) -> Any:
    """Return a pair from Python as the list that a file would hold."""
    return list(value) if isinstance(value, tuple) else value


def rising(value: list[float]) -> list[float]:
    """Return a range of factors. Raises ValueError if it is none."""
    if len(value) != 2 or not 0 < value[0] <= value[1]:
        raise ValueError("should be a list of the smallest and the largest factor, such as [0.8, 1.25]")
    return value


def _shares(value: dict[str, float]) -> dict[str, float]:
    wrong = [f"{name}: {share:g}" for name, share in value.items() if not 0 < share < 1]
    if wrong:
        raise ValueError(f"should be shares between 0 and 1 of all boxes, such as 0.15 ({', '.join(wrong)})")
    return value


def _to_section(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        raise ValueError(
            "should be a section such as {quotas: {scratch: 0.15}}; Ultralytics' own copy_paste, a number, does "
            "nothing on boxes without polygons"
        )
    return value


class CopyPaste(Section):
    """Objects that are cut from training pictures and pasted into others; boxes are enough, no polygons are needed."""

    quotas: Annotated[dict[str, float], AfterValidator(_shares)] = Field(
        default={}, description="class name: share of all training boxes to bring the class to"
    )
    small: float = Field(
        default=0.0, ge=0, lt=1, description="share of boxes to be small: below 32 x 32 px of the network's input"
    )
    scale: Annotated[list[float], BeforeValidator(to_list_of_two), AfterValidator(rising)] = Field(
        default=[0.8, 1.25], description="smallest and largest factor by which a pasted object is rescaled"
    )
    margin: float = Field(
        default=0.15, ge=0, le=1, description="share of the box's side that is cut along around the object"
    )
    blend: Literal["feather", "seamless"] = Field(
        default="feather", description="feather: edges fade out; seamless: gradients are solved for (Poisson)"
    )
    per_picture: int = Field(default=3, ge=1, description="most objects pasted into one picture")


class Policy(known_section(AUGMENT_KEYS)):  # type: ignore[misc]  # the first fields come from default.yaml
    """How training pictures are changed.

    In Python `transforms` takes Albumentations objects as well, such as `Policy(transforms=[A.GaussNoise(p=0.3)])`.
    """

    name: str | None = Field(default=None, description="what the policy is called; that of its file")
    transforms: list[Spec] = Field(
        default=[], description="Albumentations transforms in their order, such as GaussNoise: {p: 0.3}"
    )
    min_visibility: float = Field(
        # The same limit as Ultralytics' own geometry has (box_candidates, area_thr).
        default=0.1,
        ge=0,
        le=1,
        description="a box of which a transform leaves less than this share is dropped",
    )
    copy_paste: Annotated[CopyPaste | None, BeforeValidator(_to_section)] = Field(
        default=None, description="section of keys: quotas, small, scale, margin, ..."
    )

    @classmethod
    def off(cls) -> Policy:
        """Return the policy that leaves pictures as they are."""
        return cls(**dict.fromkeys(AUGMENT_KEYS, 0))

    def only(self, entry: str, *, forced: bool = False) -> Policy:
        """Return the policy that does nothing but this entry; `forced`: whenever it can, whatever its probability.

        Raises:
            KeyError: the policy has no such entry.
        """
        nothing = Policy.off().replaced(min_visibility=self.min_visibility)
        if entry in AUGMENT_KEYS and entry in entries(self):
            return nothing.replaced(**{entry: 1.0 if forced and entry in PROBABILITIES else self[entry]})
        if entry == "copy_paste" and self.copy_paste is not None:
            return nothing.replaced(copy_paste=self.copy_paste)
        spec = self.transforms[_position(self, entry)]
        name, parameters = next(iter(spec.items()))
        return nothing.replaced(transforms=[{name: {**parameters, "p": 1.0}} if forced else spec])

    def without(self, entry: str) -> Policy:
        """Return the policy without this entry.

        Raises:
            KeyError: the policy has no such entry.
        """
        if entry in AUGMENT_KEYS and entry in entries(self):
            return self.replaced(**{entry: 0.0})
        if entry == "copy_paste" and self.copy_paste is not None:
            return self.replaced(copy_paste=None)
        position = _position(self, entry)
        return self.replaced(transforms=[*self.transforms[:position], *self.transforms[position + 1 :]])

    def replaced(self, **changes: Any) -> Policy:
        """Return a copy with other values."""
        changed: Policy = self.model_copy(update=changes)
        return changed

    def __getitem__(self, knob: str) -> Any:
        return getattr(self, knob)


def entries(policy: Policy) -> tuple[str, ...]:
    """Return the names of what the policy does, in the order of the stage; a transform given twice gets a number."""
    knobs = {knob for knob in (*BEFORE_TRANSFORMS, *AFTER_TRANSFORMS) if policy[knob] not in (0, [1, 1])}
    return (
        *(["copy_paste"] if policy.copy_paste is not None else []),
        *(knob for knob in BEFORE_TRANSFORMS if knob in knobs),
        *_transform_names(policy),
        *(knob for knob in AFTER_TRANSFORMS if knob in knobs),
    )


def _transform_names(policy: Policy) -> list[str]:
    seen: dict[str, int] = {}
    names = []
    for spec in policy.transforms:
        name = next(iter(spec))
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def _position(policy: Policy, entry: str) -> int:
    names = _transform_names(policy)
    if entry not in names:
        raise KeyError(f"{entry}: the policy has {', '.join(entries(policy)) or 'nothing'}")
    return names.index(entry)
