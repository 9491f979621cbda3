"""Files that outlive a full disk and a power cut: written whole or not at all, appended in whole lines.

A reader meets the old or the new, never a half. A torn last line (the power went while it was written) is not read, and
cut off before anything is appended.
"""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

from .errors import RunError

try:
    import fcntl
except ImportError:  # Windows has no flock; two processes on one run are not noticed there
    fcntl = None  # type: ignore[assignment]


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into a RunError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            what, advice = "the disk is full", "free some space, then continue with --resume"
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            what, advice = "not writable", "choose another folder with runs=FOLDER"
        else:
            what, advice = str(error.strerror or error), "choose another folder with runs=FOLDER"
        raise RunError(f"{path}: {what}; {advice}") from error


# ---- whole files --------------------------------------------------------------------------------------------------


def write_atomic(path: Path, content: bytes | str | Callable[[Path], None]) -> None:
    """Write a file so that a reader, or a kill at any moment, meets either the old content or the new.

    Args:
        path: the file; its folder is created.
        content: bytes, text (UTF-8), or a function that writes to the path it is given.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            temporary.touch(exist_ok=False)  # with the rights that the umask leaves
            if callable(content):
                _call_writer(content, temporary)
            else:
                temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.truncate(temporary, 0)  # a failed writer may hold it open: the space must be free again at once
            temporary.unlink(missing_ok=True)
            raise


def _call_writer(writer: Callable[[Path], None], path: Path) -> None:
    """Call a function that writes a file; torch and polars say in words of their own that the disk is full."""
    try:
        writer(path)
    except OSError:
        raise
    except Exception:
        with path.open("ab", buffering=0) as file:  # raises the system's own word if it is the disk
            file.write(bytes(1 << 20))
            file.write(bytes(1))  # the first one may end half-way, this one cannot
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically, non-finite numbers as null; raises RunError as `write_atomic` does."""
    write_atomic(path, json.dumps(_finite(value, "", []), indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path, default: Any) -> Any:
    """Return the document, or `default` when there is none.

    Raises:
        RunError: the file is not JSON, or of another kind than the default, which this program never writes.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return default
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error}); restore it or train again") from error
    if not isinstance(value, type(default)):
        raise RunError(f"{path}: holds a {type(value).__name__} in place of records; restore it or train again")
    return value


def _finite(value: Any, name: str, odd: list[str]) -> Any:
    """Return the value with non-finite numbers, which JSON does not know, replaced by null; name them in `odd`."""
    if isinstance(value, float) and not math.isfinite(value):
        odd.append(name)
        return None
    prefix = f"{name}." if name else ""
    if isinstance(value, Mapping):
        return {key: _finite(item, f"{prefix}{key}", odd) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item, f"{prefix}{index}", odd) for index, item in enumerate(value)]
    return value


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs; the system frees it when the process ends, however it ends.

    Raises:
        RunError: another process holds it; `what` says what it is doing.
    """
    with explain_disk_errors(path):
        file = path.open("a")
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"{path.parent}: {what} by another process; end that one first") from None
        yield


# ---- lines ----------------------------------------------------------------------------------------------------------


def append_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Append records to a file, each as one whole line of JSON; all of them, or none when the disk is full.

    A non-finite number becomes null, and the record names it in `non_finite`.

    Raises:
        RunError: the disk is full or not writable.
    """
    content = "".join(map(as_line, records)).encode()
    with explain_disk_errors(path):
        path.parent.mkdir(exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            end = _cut_torn_line(file, path)
            try:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) or 0 :]
            except BaseException:
                file.truncate(end)
                raise


def _cut_torn_line(file: BinaryIO, path: Path) -> int:
    """Cut off what follows the last newline; returns the size of what is left."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return 0
    file.seek(end - 1)
    if file.read(1) != b"\n":
        end = path.read_bytes().rfind(b"\n") + 1
        file.truncate(end)
    return end


def as_line(record: Mapping[str, Any]) -> str:
    """Return a record as one line of JSON."""
    odd: list[str] = []
    finite = _finite(record, "", odd)
    return json.dumps({**finite, "non_finite": odd} if odd else finite, ensure_ascii=False) + "\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file in the order in which they were written; none where there is no file.

    Raises:
        RunError: the file cannot be read, or a whole line is no record.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
    found = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is torn, or empty
        try:
            found.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise RunError(f"{path}:{number}: not a record ({error}); restore the file or train again") from error
    return found


def now() -> str:
    """Return the present time in UTC as ISO 8601 with seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
