"""Pictures made worse with Albumentations: six corruptions in five strengths.

Five strengths of each corruption, as in Hendrycks and Dietterich 2019 (arXiv 1903.12261). The corruptions here are
those of a camera above a belt or a field, and the strengths are this project's: strength 1 is barely visible, at
strength 5 a person still finds most objects (looked at on DeepPCB and BCCD, whose objects are 10 to 200 px large). The
published ones are made for one large object per picture: their noise of 0.38 hides small defects.

Blur is measured in 640ths of the picture's long side, the side that is scaled to the network's input: the same
strength blurs a picture of 4,000 px in the network's eyes as much as one of 640. A blur is at least 3 px wide, so the
lower strengths are the same on small pictures. Noise and JPEG work on single pixels, as a sensor and a file do. Boxes
stay where they are: no corruption moves anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import TuneUpError

Picture = NDArray[np.uint8]
Change = Callable[[Picture, int], Picture]  # (picture, image_id) -> picture

STRENGTHS = (1, 2, 3, 4, 5)
_REFERENCE_SIDE = 640  # px: the long side of COCO's pictures, at which the blurs' sizes are given


@dataclass(frozen=True)
class Corruption:
    """A way in which pictures get worse.

    Args:
        name: as it stands in the metrics.
        title: as a person reads it.
        levels: one parameter for each strength.
        unit: what the parameter is.
        advice: what helps against it.
    """

    name: str
    title: str
    levels: tuple[float, float, float, float, float]
    unit: str
    advice: str


CORRUPTIONS = (
    Corruption(
        "motion_blur",
        "motion blur",
        (3, 5, 9, 15, 21),
        "length of the smear in 640ths of the long side",
        "shorten the exposure time, or add motion blur to the augmentation of training",
    ),
    Corruption(
        "defocus",
        "defocus",
        (1, 2, 3, 4, 6),
        "radius of the disk in 640ths of the long side",
        "close the aperture or mend the focus, or add defocus or blur to the augmentation of training",
    ),
    Corruption(
        "noise",
        "sensor noise",
        (0.02, 0.04, 0.07, 0.12, 0.18),
        "standard deviation, 1 being the span from black to white",
        "give more light or less gain, or add Gaussian noise to the augmentation of training",
    ),
    Corruption(
        "darker",
        "underexposure",
        (0.25, 0.75, 1.5, 2.5, 3.5),
        "exposure steps (EV) below",
        "keep exposure constant, or raise augment.hsv_v, which varies brightness in training",
    ),
    Corruption(
        "brighter",
        "overexposure",
        (0.2, 0.4, 0.6, 0.8, 1),
        "exposure steps (EV) above",
        "keep exposure constant, or raise augment.hsv_v, which varies brightness in training",
    ),
    Corruption(
        "jpeg",
        "JPEG compression",
        (60, 35, 20, 12, 7),
        "JPEG quality",
        "store pictures at a higher JPEG quality, or add JPEG compression to the augmentation of training",
    ),
)
BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}


def corrupt(name: str, strength: int, picture: Picture, seed: int) -> Picture:
    """Return the picture made worse, of the same size.

    Args:
        name: one of `CORRUPTIONS`.
        strength: 1 to 5.
        picture: uint8 [height, width, 3] in BGR order.
        seed: decides the noise and the direction of a smear; the same seed gives the same picture.

    Raises:
        TuneUpError: Albumentations is not there as it should be.
    """
    level = BY_NAME[name].levels[STRENGTHS.index(strength)]
    scale = max(picture.shape[:2]) / _REFERENCE_SIDE
    try:
        transform = _transform(name, level, scale)
        transform.set_random_seed(seed)
        changed = np.asarray(transform(image=picture)["image"])
    except Exception as error:  # whatever a missing or other version raises
        raise _broken(name, f"{type(error).__name__}: {error}") from error
    if changed.shape != picture.shape or changed.dtype != np.uint8:
        raise _broken(name, f"{changed.dtype} {changed.shape} came out of uint8 {picture.shape}")
    return changed


def _broken(name: str, why: str) -> TuneUpError:
    return TuneUpError(f"Albumentations does not make '{name}' as it should ({why}); install albumentations==2.0.8")


def _transform(name: str, level: float, scale: float) -> Any:
    import albumentations as A  # here, because it loads torch where that is installed

    if name == "motion_blur":
        length = max(3, 2 * round((level * scale - 1) / 2) + 1)  # an odd number of pixels
        # Symmetric about the pixel: a smear to one side would move the objects away from their boxes.
        return A.MotionBlur((length, length), allow_shifted=False, direction_range=(0, 0), p=1)
    if name == "defocus":
        radius = max(1, round(level * scale))
        return A.Defocus((radius, radius), alias_blur=(0.1, 0.1), p=1)
    if name == "noise":
        return A.GaussNoise((level, level), per_channel=True, p=1)
    if name == "jpeg":
        return A.ImageCompression("jpeg", (int(level), int(level)), p=1)
    # A step halves or doubles the light. Stored values are light to the power of 1 / 2.2; what is beyond white is cut.
    gain = 2 ** ((level if name == "brighter" else -level) / 2.2)
    return A.RandomBrightnessContrast((0, 0), (gain - 1, gain - 1), p=1)


def check_corruptions() -> None:
    """Make sure that every corruption changes a test picture, and the more the stronger it is.

    Albumentations ignores parameters that its version does not know, and a detector would shine on clean pictures.

    Raises:
        TuneUpError: one does not.
    """
    rows, columns = np.mgrid[:48, :_REFERENCE_SIDE]
    waves = 110 + 40 * np.sin(columns / 3) * np.sin(rows / 3) + 20 * ((rows // 8 + columns // 8) % 2)
    picture = np.repeat(waves.astype(np.uint8)[..., None], 3, axis=2)
    for corruption in CORRUPTIONS:
        made = [corrupt(corruption.name, strength, picture, 0).astype(np.float64) for strength in STRENGTHS]
        errors = [float(np.square(one - picture).mean()) for one in made]
        if not all(low < high for low, high in zip([0.0, *errors], errors, strict=False)):
            found = ", ".join(f"{error:.1f}" for error in errors)
            raise _broken(corruption.name, f"mean squared errors of strengths 1 to 5: {found}")
