"""Which number formats work for the model at hand."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import nn


def autocast(enabled: bool | torch.dtype, device: str = "cuda") -> AbstractContextManager[None]:
    """Return torch's context for mixed precision; takes the place of Ultralytics' own, which refuses bf16 on a CPU.

    Args:
        enabled: whether to use the device's default half precision, or the format itself.
        device: type of the device, as in `torch.device.type`.
    """
    kind = enabled if isinstance(enabled, torch.dtype) else None
    return torch.autocast(device, dtype=kind, enabled=bool(enabled))


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
