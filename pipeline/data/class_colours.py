"""One colour for each class, on drawn pictures and in the report."""

from __future__ import annotations

# Told apart on grey metal and on green leaves, also by most colour-blind eyes.
COLOURS = (
    "#ffb000",
    "#648fff",
    "#ff5ca0",
    "#3ddc97",
    "#fe6100",
    "#b39ddb",
    "#00c2d1",
    "#f0e442",
    "#e57373",
    "#8bc34a",
)


def colour_of(class_id: int) -> str:
    """Return the colour of a class; they come again after the last."""
    return COLOURS[class_id % len(COLOURS)]
