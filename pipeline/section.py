"""The base of the configuration's sections: strict, frozen, and some of them filled with Ultralytics' own keys."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from .known_keys import check_value, known_keys


class Section(BaseModel):
    """Base of the sections: no unknown keys, no silent conversion, no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class KnownSection(Section):
    """A section with the keys, defaults and descriptions of the installed Ultralytics; each key is an attribute."""

    model_config = ConfigDict(defer_build=True)  # the base class made from default.yaml is never used by itself

    @property
    def given(self) -> dict[str, Any]:
        """The keys that were set, as opposed to left at Ultralytics' default; after `to_yaml` all of them are set."""
        return self.model_dump(include=self.model_fields_set)

    def with_defaults(self) -> dict[str, Any]:
        """Return every key with the value that training will use."""
        return self.model_dump()


def known_section(names: Sequence[str]) -> type[KnownSection]:
    keys = known_keys()
    fields: dict[str, Any] = {
        name: (
            Annotated[Any, AfterValidator(partial(check_value, name))],
            Field(default=keys[name].default, description=keys[name].description),
        )
        for name in names
        if name in keys
    }
    return create_model("KnownKeys", __base__=KnownSection, **fields)
