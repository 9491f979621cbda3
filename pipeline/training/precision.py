"""Whether half precision works for the model at hand."""

from __future__ import annotations

import torch
from torch import nn


def amp_is_sound(model: nn.Module) -> bool:
    """Whether this model gives finite values in half precision on its device.

    Ultralytics' own check downloads weights of another model and compares on them; here the model itself is tried.
    """
    parameter = next(model.parameters())
    if parameter.device.type != "cuda":
        return False
    training = model.training
    picture = torch.full((1, 3, 256, 256), 0.5, device=parameter.device)
    with torch.no_grad(), torch.autocast("cuda"):
        output = model.eval()(picture)
    model.train(training)
    first = output[0] if isinstance(output, tuple | list) else output
    return bool(torch.isfinite(first).all())
