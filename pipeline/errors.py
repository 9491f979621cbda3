"""The exceptions that a person may meet, and the exit code that each one stands for.

TuneUpError
├── UsageError      2   a wrong command line or call
├── ConfigError     2   one or more wrong keys or values in the configuration, all listed at once
├── ModelError      2   weights that cannot be found, read or trusted
├── RunError        2   a run folder that cannot be written, read or continued
├── TrainingError   2   training could not start or had to stop
└── DataError       3   pictures or labels that cannot be read

Each message says what was found, where, and what to do. The command line prints it without a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


class TuneUpError(Exception):
    """Base of all errors that are addressed to a person; `exit_code` is what the command line returns."""

    exit_code = 2


class UsageError(TuneUpError):
    """The command line or a call asks for something that does not exist or does not fit together."""


class ConfigError(TuneUpError):
    """The configuration has mistakes; `problems` lists every one of them as `where: what, what to do`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "1 mistake" if count == 1 else f"{count} mistakes"
        super().__init__("\n".join([f"The configuration has {head}:", *(f"  {p}" for p in self.problems)]))


class ModelError(TuneUpError):
    """Weights or an architecture cannot be found, read or trusted."""


class RunError(TuneUpError):
    """A run folder cannot be written, read or continued."""


class TrainingError(TuneUpError):
    """Training could not start or had to stop."""

    broke_off = False  # true where that says nothing about the training: memory, a disk, a loader process, a bug


class DataError(TuneUpError):
    """Pictures or labels cannot be read as they are; nothing in the source was changed."""

    exit_code = 3
