"""Faults of a person's own code: edited blocks of the network, and code around the training."""

from __future__ import annotations

import doors
from case import Fault

_PROOF = ("proof.gradient_wrong",)

OF_CODE: tuple[Fault, ...] = (
    Fault(
        "nan_pictures",
        "preprocessing that divides a picture by its deviation, which is zero: NaN pixels",
        "own code",
        ("gradient.non_finite", "preflight.not_finite"),
        (),
        ("non_finite",),
        patch=doors.prepared(doors.standardise_flat),
        onset="door",
    ),
    Fault(
        "inf_gradient",
        "one Inf in one gradient at one step",
        "own code",
        ("gradient.non_finite",),
        (),
        ("non_finite",),
        patch=doors.inf_in_gradient("model.5", 40),
        onset="door",
    ),
    Fault(
        "block_detached",
        "an edited Bottleneck that detaches its input; the gradient has a way around it",
        "edited block",
        (*_PROOF, "layer.never_updated"),
        ("gradient.vanishing", "preflight.cannot_overfit"),
        ("vanishing_gradient", "unchanged_weights"),
        patch=doors.edited_block(doors.BOTTLENECK, "detached"),
    ),
    Fault(
        "pooling_detached",
        "an edited SPPF that detaches its input: nothing reaches the layers before it",
        "edited block",
        (*_PROOF, "layer.never_updated"),
        ("gradient.vanishing",),
        ("vanishing_gradient", "unchanged_weights"),
        patch=doors.edited_block(doors.POOLING, "detached"),
    ),
    Fault(
        "wrong_sign",
        "an edited Bottleneck whose own backward pass has the wrong sign",
        "edited block",
        _PROOF,
        ("preflight.cannot_overfit", "gradient.conflict", "loss.plateau", "labels.not_learnable"),
        ("loss_not_falling", "loss_oscillates"),
        patch=doors.edited_block(doors.BOTTLENECK, "sign"),
    ),
    Fault(
        "wrong_sign_pooling",
        "an edited SPPF whose own backward pass has the wrong sign",
        "edited block",
        _PROOF,
        ("preflight.cannot_overfit", "gradient.conflict", "loss.plateau", "labels.not_learnable"),
        ("loss_not_falling", "loss_oscillates"),
        patch=doors.edited_block(doors.POOLING, "sign"),
    ),
    Fault(
        "not_in_optimizer",
        "an optimizer of one's own that forgets a block",
        "own code",
        ("layer.not_in_optimizer", "layer.never_updated"),
        (),
        ("unchanged_weights",),
        patch=doors.left_out_of_optimizer("model.8"),
    ),
    Fault(
        "frozen_by_code",
        "a callback that freezes a block of the neck",
        "own code",
        ("layer.frozen_unintended", "layer.never_updated"),
        (),
        ("unchanged_weights",),
        patch=doors.at_start(doors.freeze_part("model.16")),
    ),
    Fault(
        "not_scaled",
        "pixels of 0 to 255 where the network has learnt 0 to 1",
        "own code",
        ("norm.drifting",),
        ("preflight.not_finite", "gradient.exploding"),
        ("bad_initial_loss", "exploding_gradient"),
        start="plain",
        patch=doors.prepared(doors.forget_scaling),
    ),
    Fault(
        "loss_scale_forced",
        "half precision with a loss scale of 2^24 from the first step",
        "own code",
        ("amp.skipping",),
        ("gradient.non_finite",),
        ("non_finite",),
        ("amp=true", "device=0"),
        patch=doors.scale_forced,
        needs_gpu=True,
    ),
)
