"""Procedural demo sets: pictures of steel defects and of a field, with exact boxes, drawn from a seed."""

from .demo import DEMOS, DemoKind, demo_picture, make_demo
from .drawing import Picture
from .field import FIELD_NAMES, field_picture
from .steel import STEEL_NAMES, steel_picture

__all__ = [
    "DEMOS",
    "FIELD_NAMES",
    "STEEL_NAMES",
    "DemoKind",
    "Picture",
    "demo_picture",
    "field_picture",
    "make_demo",
    "steel_picture",
]
