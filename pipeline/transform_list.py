"""Which transforms of Albumentations a policy may name, what says how strong each one is, and why others are refused.

Every transform of the installed version stands in exactly one of TRANSFORMS and REFUSED; a test holds this, and another
runs every one of TRANSFORMS on real pictures with boxes: size and number type stay, boxes follow the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DIGITS = 4  # of a number in an advice
_SMALLEST_SIDE = 3  # px
# Parts of a parameter that shape a distribution and do not say how wide it is.
_SHAPES = frozenset({"alpha_range", "beta_range"})


@dataclass(frozen=True)
class Magnitude:
    """A parameter that says how strong a transform is.

    Args:
        parameter: its name; it may be a number, a range, a list of ranges, or a mapping of these.
        neutral: the value at which the transform does nothing, or least.
        lowest, highest: what Albumentations accepts, where `neutral` lies outside of it.
        odd: a side of a filter: odd, 3 or more; 0 where it follows from another parameter.
    """

    parameter: str
    neutral: float
    lowest: float = -math.inf
    highest: float = math.inf
    odd: bool = False

    def is_neutral(self, value: Any) -> bool:
        """Whether all numbers of a value are such that the transform does nothing because of them."""
        if isinstance(value, Mapping | list):
            parts = value.values() if isinstance(value, Mapping) else value
            return all(self.is_neutral(part) for part in parts)
        return value is None or isinstance(value, bool | str) or value == (0 if self.odd else self.neutral)

    def moved(self, value: Any, share: float) -> Any:
        """Return a value, or all numbers of a range or mapping, with its distance from neutral times `share`."""
        if isinstance(value, Mapping):
            return {key: part if key in _SHAPES else self.moved(part, share) for key, part in value.items()}
        if isinstance(value, list):
            return [self.moved(part, share) for part in value]
        if isinstance(value, bool | str):
            return value  # such as the kind of noise
        if self.odd:
            return _smaller_side(value, share)
        distance = (value - self.neutral) * share
        if isinstance(value, int):
            result: float = round(self.neutral) + math.trunc(distance)
        else:
            result = float(f"{self.neutral + distance:.{_DIGITS}g}")
        return min(max(result, self.lowest), self.highest)


# Entries of a policy that turn, shift or bend pictures, or mix them: padding and other pictures come into view, so that
# mean and deviation of a picture change by what it is laid on.
MOVES = frozenset(
    {
        *("degrees", "translate", "scale", "shear", "perspective", "mosaic", "mixup", "cutmix"),
        *("Affine", "CropAndPad", "ElasticTransform", "GridDistortion", "GridElasticDeform", "OpticalDistortion"),
        *("Perspective", "Rotate", "SafeRotate"),
    }
)


def _smaller_side(side: int, share: float) -> int:
    if side == 0:
        return 0
    smaller = math.floor(1 + (side - 1) * share)
    return max(_SMALLEST_SIDE, smaller - (smaller + 1) % 2)


def _around(neutral: float, names: str) -> tuple[Magnitude, ...]:
    return tuple(Magnitude(name, neutral) for name in names.split())


def _each(names: str, reason: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


_FILTER = Magnitude("blur_limit", 1, odd=True)  # a filter of 1 x 1 px leaves everything as it is

TRANSFORMS: dict[str, tuple[Magnitude, ...]] = {
    # Light and colour
    "AutoContrast": (),
    "CLAHE": _around(1, "clip_limit"),
    "ChannelDropout": (),
    "ChannelShuffle": (),
    "ChromaticAberration": _around(0, "primary_distortion_limit secondary_distortion_limit"),
    "ColorJitter": _around(1, "brightness contrast saturation") + _around(0, "hue"),
    "Equalize": (),
    "FancyPCA": _around(0, "alpha"),
    "HEStain": _around(1, "intensity_scale_range") + _around(0, "intensity_shift_range"),
    "HueSaturationValue": _around(0, "hue_shift_limit sat_shift_limit val_shift_limit"),
    "Illumination": (Magnitude("intensity_range", 0, lowest=0.01),),
    "InvertImg": (),
    "PlanckianJitter": _around(6000, "temperature_limit"),  # kelvin: its white
    "PlasmaBrightnessContrast": _around(0, "brightness_range contrast_range"),
    "PlasmaShadow": _around(0, "shadow_intensity_range"),
    "Posterize": (Magnitude("num_bits", 8, highest=7),),
    "RGBShift": _around(0, "r_shift_limit g_shift_limit b_shift_limit"),
    "RandomBrightnessContrast": _around(0, "brightness_limit contrast_limit"),
    "RandomGamma": _around(100, "gamma_limit"),
    "RandomShadow": _around(0, "shadow_intensity_range"),
    "RandomToneCurve": _around(0, "scale"),
    "Solarize": _around(1, "threshold_range"),
    "ToGray": (),
    "ToSepia": (),
    # Noise and loss of detail
    "AdditiveNoise": _around(0, "noise_params"),
    "Downscale": _around(1, "scale_range"),
    "GaussNoise": _around(0, "std_range mean_range"),
    "ISONoise": _around(0, "color_shift intensity"),
    "ImageCompression": _around(100, "quality_range"),
    "MultiplicativeNoise": _around(1, "multiplier"),
    "PixelDropout": _around(0, "dropout_prob"),
    "SaltAndPepper": _around(0, "amount"),
    "ShotNoise": _around(0, "scale_range"),
    "Superpixels": _around(0, "p_replace"),
    # Blur and sharpness
    "AdvancedBlur": (_FILTER, *_around(0, "sigma_x_limit sigma_y_limit")),
    "Blur": (_FILTER,),
    "Defocus": (Magnitude("radius", 0, lowest=1), *_around(0, "alias_blur")),
    "Emboss": _around(0, "alpha"),
    "GaussianBlur": (_FILTER, *_around(0, "sigma_limit")),
    "GlassBlur": (Magnitude("max_delta", 0, lowest=1), Magnitude("iterations", 0, lowest=1), *_around(0, "sigma")),
    "MedianBlur": (_FILTER,),
    "MotionBlur": (_FILTER,),
    "RingingOvershoot": _around(math.pi, "cutoff"),  # radians per pixel: at pi every frequency passes
    "Sharpen": _around(0, "alpha"),
    "UnsharpMask": _around(0, "alpha"),
    "ZoomBlur": _around(1, "max_factor"),
    # Weather and dirt
    "RandomFog": _around(0, "fog_coef_range alpha_coef"),
    "RandomGravel": (Magnitude("number_of_patches", 0, lowest=1),),
    "RandomRain": (Magnitude("blur_value", 0, lowest=1), *_around(1, "brightness_coefficient")),
    "RandomSnow": _around(1, "brightness_coeff") + _around(0, "snow_point_range"),
    "RandomSunFlare": (Magnitude("src_radius", 0, lowest=2),),
    "Spatter": _around(0, "intensity"),
    # Parts hidden
    "CoarseDropout": (Magnitude("hole_height_range", 0), Magnitude("hole_width_range", 0)),
    "Erasing": _around(0, "scale"),
    "GridDropout": _around(0, "ratio"),
    "XYMasking": _around(0, "mask_x_length mask_y_length"),
    # Geometry
    "Affine": _around(1, "scale") + _around(0, "translate_percent translate_px rotate shear"),
    "CropAndPad": _around(0, "percent px"),
    "D4": (),
    "ElasticTransform": _around(0, "alpha"),
    "GridDistortion": _around(0, "distort_limit"),
    "GridElasticDeform": (Magnitude("magnitude", 0, lowest=1),),
    "HorizontalFlip": (),
    "OpticalDistortion": _around(0, "distort_limit"),
    "Perspective": _around(0, "scale"),
    "RandomRotate90": (),
    "Rotate": _around(0, "limit"),
    "SafeRotate": _around(0, "limit"),
    "SquareSymmetry": (),
    "Transpose": (),
    "VerticalFlip": (),
}

_NESTED = "lists cannot be nested: list the transforms singly, each with its own p"
_BASE = "it is a base class and changes nothing"
_SIZE = "it changes the size of the picture, and all pictures of a batch are of one size; use the policy's own scale"
_BLACK = "it gives decimal numbers, and Ultralytics divides by 255 itself: the pictures would be black"
_OTHERS = "it needs other pictures, which a policy cannot hand it"
_VOLUME = "it is for volumes, not for pictures"
_MASKS = "it needs masks or labels, which boxes do not have; CoarseDropout hides parts anywhere"

REFUSED: dict[str, str] = {  # why a transform cannot be named in a policy, and what to do instead
    **_each("BaseCompose Compose OneOf OneOrOther RandomOrder ReplayCompose Sequential SomeOf", _NESTED),
    "SelectiveChannelTransform": _NESTED,
    **_each("BasicTransform DualTransform ImageOnlyTransform Transform3D", _BASE),
    **_each("AtLeastOneBBoxRandomCrop BBoxSafeRandomCrop CenterCrop Crop CropNonEmptyMaskIfExists RandomCrop", _SIZE),
    **_each("RandomCropFromBorders RandomCropNearBBox RandomResizedCrop RandomSizedBBoxSafeCrop", _SIZE),
    **_each("RandomSizedCrop LongestMaxSize SmallestMaxSize Resize RandomScale Pad PadIfNeeded", _SIZE),
    **_each("Normalize ToFloat FromFloat", _BLACK),
    **_each("ToTensorV2 ToTensor3D", "Ultralytics makes the tensor itself, after the last transform"),
    **_each("FDA HistogramMatching PixelDistributionAdaptation OverlayElements TextImage", _OTHERS),
    "Mosaic": "it needs other pictures; use the policy's own mosaic",
    **_each("CenterCrop3D CoarseDropout3D CubicSymmetry Pad3D PadIfNeeded3D RandomCrop3D", _VOLUME),
    **_each("ConstrainedCoarseDropout MaskDropout", _MASKS),
    "Lambda": "it holds code, and code cannot be saved with the run",
    "NoOp": "it does nothing; leave it out",
    "ToRGB": "the pictures are in colour already; leave it out",
    "TimeReverse": "it is HorizontalFlip for sound; use HorizontalFlip",
    **_each("TimeMasking FrequencyMasking", "it is XYMasking for sound; use XYMasking"),
    # Albumentations 2.0.8 keeps neither its shift_limit nor its scale_limit as they were given.
    "ShiftScaleRotate": "it cannot be read back from a transform; use Affine with translate_percent, scale and rotate",
    # Measured at 640 x 640 px on opencv-python-headless 5.0.0.93: it fails in dilate, for the boxes' masks.
    "Morphological": "with OpenCV 5 it crashes on pictures with boxes",
    "RandomGridShuffle": "it cuts objects apart, and one box becomes several",
    # Measured: 4 s for a picture of 640 x 640 px with 4 boxes; ElasticTransform 0.07 s, GridDistortion 0.01 s.
    "PiecewiseAffine": "it takes seconds for every picture; use GridDistortion or ElasticTransform",
    # Measured: of 160 corners of boxes 7 were lost, and others were up to 149 px from where their pixels went.
    "ThinPlateSpline": "it loses the corners of boxes, so that the contract could not check it; use ElasticTransform",
}

# Parameters that must keep one value, whatever the transform: the value, and why.
_ONE_SIZE = "all pictures of a batch are of one size"
HELD: dict[str, tuple[object, str]] = {
    "keep_size": (True, _ONE_SIZE),
    "crop_border": (False, f"it cuts the picture, and {_ONE_SIZE}"),
    "num_output_channels": (3, "the network takes pictures with three channels"),
    "mask": (None, "a mask belongs to one picture, and a policy is for all of them"),
    "mask_params": ([], "a mask belongs to one picture, and a policy is for all of them"),
}
HELD_IN: dict[tuple[str, str], tuple[object, str]] = {
    ("Affine", "fit_output"): (False, f"it changes the size of the picture, and {_ONE_SIZE}"),
}
