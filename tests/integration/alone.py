"""A training without the evaluation and the report that `verbs.train` goes on to, which take as long again."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import load_config
from pipeline.runs import Run
from pipeline.training import session


def train_alone(overrides: Sequence[str]) -> Run:
    return session.train(load_config(None, overrides))
