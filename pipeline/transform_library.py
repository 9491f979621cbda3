"""The installed Albumentations: whether it is the one that the program was made for, and the module itself."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from .errors import ConfigError

_VERSION = "2.0."  # the parameters and defaults that transform_list was made for
_REPAIR = "`pip uninstall -y albumentationsx albumentations`, then `pip install --no-deps albumentations==2.0.8`"


def require_albumentations() -> None:
    """Make sure that `import albumentations` gives Albumentations 2.0; imports nothing itself.

    AlbumentationsX installs a package of the same name. It is told by the record that pip keeps beside the package,
    because its oldest versions are numbered 2.0 as well. Where both records lie there, the files are a mixture.

    Raises:
        ConfigError: it is missing, of another version, or AlbumentationsX stands in its place; what to do is told.
    """
    spec = importlib.util.find_spec("albumentations")
    if spec is None or spec.origin is None:
        raise ConfigError(["Albumentations is not installed in this Python; `pip install albumentations==2.0.8`"])
    folder = str(Path(spec.origin).parents[1])
    versions = {name: _installed_version(name, folder) for name in ("albumentationsx", "albumentations")}
    if versions["albumentationsx"]:
        raise ConfigError(
            [
                f"AlbumentationsX {versions['albumentationsx']} stands in place of Albumentations in {folder}; with it "
                f"Ultralytics trains without any augmentation and does not say so: {_REPAIR}"
            ]
        )
    version = versions["albumentations"] or "of unknown version"
    if not version.startswith(_VERSION):
        raise ConfigError([f"Albumentations {version} is installed in {folder}, {_VERSION}8 is needed: {_REPAIR}"])


def _installed_version(name: str, folder: str) -> str | None:
    records = list(importlib.metadata.distributions(name=name, path=[folder]))
    return records[0].version if records else None


@cache
def albumentations_library() -> Any:
    """Return the module `albumentations`, which takes seconds to load.

    Raises:
        ConfigError: as `require_albumentations`.
    """
    require_albumentations()
    import albumentations

    return albumentations
