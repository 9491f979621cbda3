"""The history as it stood after so many steps: what a live diagnosis saw then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from ..tensor_norms import TensorNorms
from .history import History


def history_until(history: History, steps: int) -> History:
    """Return the history of the first `steps` optimiser steps.

    Args:
        history: of a whole run.
        steps: optimiser steps that are kept, with the epochs, events, probes and incidents up to there.
    """
    events = [event for event in history.events if _step(event) <= steps]
    context = dict(history.context)
    if not any(event.get("event") == "resume" for event in events):
        context.pop("restored", None)  # what a resume found is known from then on
    return History(
        steps=history.steps.head(steps),
        epochs=_epochs_until(history.epochs, steps),
        events=events,
        probes=[probe for probe in history.probes if _step(probe) < max(steps, 1)],
        norms=_norms_until(history.norms, steps),
        incidents=[incident for incident in history.incidents if _step(incident) < steps],
        context=context,
    )


def _step(record: Mapping[str, Any]) -> int:
    return int(record.get("step") or 0)


def _epochs_until(epochs: pl.DataFrame, steps: int) -> pl.DataFrame:
    return epochs.filter(pl.col("steps") <= steps) if "steps" in epochs.columns else epochs.head(0)


def _norms_until(norms: TensorNorms, steps: int) -> TensorNorms:
    rows = int(np.searchsorted(norms.steps, steps))
    return TensorNorms(norms.tensors, norms.layers, norms.steps[:rows], norms.values[:rows])
