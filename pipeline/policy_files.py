"""Finding the file of a policy: by its path, or by its name among those in `configs/augment`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .errors import ConfigError

# Those that come with the program; a folder `configs/augment` where one works goes before them.
_SHIPPED = Path(__file__).resolve().parent.parent / "configs" / "augment"


def policy_folders(beside: Path | None) -> list[Path]:
    """Return the folders in which a name is looked for: that of the file it stands in, the working folder, ours."""
    own = [beside.absolute().parent / "augment"] if beside is not None else []
    return list(dict.fromkeys([*own, Path("configs", "augment").absolute(), _SHIPPED]))


def find_policy(name: Any, beside: Path | None = None) -> Path:
    """Return the file of a policy.

    Args:
        name: what `augment:` says: a path, relative to the working folder, or a name such as metal.
        beside: the configuration file that says it.

    Raises:
        ConfigError: there is no such file.
    """
    if not isinstance(name, str | Path) or not str(name).strip():
        told = str(name).lower() if isinstance(name, bool) else repr(name)
        wanted = "should be the name or path of a policy file, or a section of `key: value` lines"
        raise ConfigError([f"{wanted}, found {told}"])
    path = Path(name).expanduser()
    if path.suffix.lower() in {".yaml", ".yml"} or len(path.parts) > 1:
        return path
    folders = policy_folders(beside)
    for folder in folders:
        if os.path.isfile(folder / f"{name}.yaml"):  # unlike Path.is_file it never raises, whatever the name
            return folder / f"{name}.yaml"
    known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    there = f"there are {', '.join(known)}" if known else "there is none"
    raise ConfigError([f"no policy {str(name)!r}: {there}; or write the path of a file, such as my/{name}.yaml"])
