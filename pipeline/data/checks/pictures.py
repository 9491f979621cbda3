"""Pictures by what the tables and the file headers say: without labels, odd sizes, kinds of files."""

from __future__ import annotations

import math

import polars as pl

from ...findings import Finding, Severity
from ..raw import ROWS_NAMED
from .evidence import counted, of_pictures, plain
from .snapshot import Snapshot

# Ultralytics' "Tips for best training results" advise 0 to 10 % of pictures without an object.
BACKGROUND = 0.10
MOSTLY_BACKGROUND = 0.50  # from here on most batches teach what is not there; judgement
ODD_SIZE = 3.0  # long side against the usual one: beyond what `scale=0.5` (0.5 to 1.5 times) levels out
FEW = 0.05  # share of the pictures that may be called odd; more is a mixture; judgement
ENLARGED = 2.0  # judgement
REDUCED = 4.0  # an object of 32 pixels, small by COCO's words, becomes one cell of the finest level
SMALL_SEEN = 16.0  # pixels; Ultralytics' assigner treats smaller sides as if they were this long (tal.py, `stride_val`)
BOMB = 178_956_970  # pixels: twice Pillow's MAX_IMAGE_PIXELS, from where on it refuses a file
KINDS = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "RGB": "colour",
    "RGBA": "colour with transparency",
    "P": "palette",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "LAB": "Lab",
    "I;16": "grey of 16 bits",
    "I;16S": "grey of 16 bits",
    "I": "grey of 32 bits",
    "F": "grey in fractions",
}
# What `images.read_picture` makes of a kind that is neither plain grey nor plain colour. Of grey with more bits
# `images.deep` tells.
TREATED = {
    "1": "black and white becomes 0 and 255",
    "LA": "transparency is dropped, and what lies behind it is seen",
    "RGBA": "transparency is dropped, and what lies behind it is seen",
    "P": "a palette's colours are put in, without transparency",
    "CMYK": "printing colours are made RGB, without the profile of the printer",
    "YCbCr": "YCbCr is made RGB",
    "LAB": "Lab is made RGB",
}


def background(snapshot: Snapshot) -> list[Finding]:
    """Compare the share of training pictures without an object with what Ultralytics advises."""
    training = snapshot.images.filter(pl.col("part") == snapshot.training_part)
    empty = training.filter((pl.col("boxes") == 0) & (pl.col("ignored") == 0))
    if training.is_empty() or empty.height == training.height:  # no boxes at all is another finding
        return []
    share = empty.height / training.height
    if empty.is_empty():
        message = f"none of the {counted(training.height, 'training picture')} is without an object"
        advice = (
            "pictures without an object teach what is no object, and show the rate of false alarms; add some if the "
            "network will see such pictures"
        )
        return [Finding("images.no_background", "info", message, of_pictures(empty), advice)]
    if share <= BACKGROUND:
        return []
    message = f"{empty.height:,} of {training.height:,} training pictures ({share:.0%}) have no box"
    advice = "check that they are labelled at all; 0 to 10 % is Ultralytics' advice, more makes training slower"
    severity: Severity = "warning" if share > MOSTLY_BACKGROUND else "info"
    return [Finding("images.background_share", severity, message, of_pictures(empty, share=plain(share)), advice)]


def odd_sizes(snapshot: Snapshot) -> list[Finding]:
    """Find pictures far larger or smaller than the others, or a mixture of sizes."""
    images = snapshot.images
    if images.height < 2:
        return []
    usual = float(images["long_side"].median())  # type: ignore[arg-type]
    off = images.with_columns(off=(pl.col("long_side") / usual).log().abs()).sort("off", descending=True)
    odd = off.filter(pl.col("off") > math.log(ODD_SIZE))
    if odd.is_empty():
        return []
    smallest, largest = images.select(low=pl.col("long_side").min(), high=pl.col("long_side").max()).row(0)
    sizes = {"usual_long_side": usual, "smallest": smallest, "largest": largest}
    few = odd.height <= FEW * images.height
    same = "all pictures get the same long side before the network: equal objects become large in one, small in another"
    if few:
        message = (
            f"{counted(odd.height, 'picture')} with a long side of less than a third or more than three times the "
            f"usual {usual:g} pixels"
        )
        return [Finding("images.odd_size", "info", message, of_pictures(odd, **sizes), f"look at them; {same}")]
    message = f"pictures of very different sizes: long sides of {smallest:,} to {largest:,} pixels"
    advice = f"{same}; tiles (`tuneup tile`) keep the size if all were taken at one scale"
    return [Finding("images.mixed_sizes", "info", message, of_pictures(odd, **sizes), advice)]


def enlarged(snapshot: Snapshot) -> list[Finding]:
    """Find pictures that are enlarged more than twice."""
    small = snapshot.images.filter(pl.col("long_side") * ENLARGED < snapshot.imgsz).sort("long_side")
    if small.is_empty():
        return []
    side = int(small["long_side"][-1])
    message = (
        f"{small.height:,} of {counted(snapshot.images.height, 'picture')} are enlarged more than twice for imgsz "
        f"{snapshot.imgsz}: their long sides have up to {side} pixels"
    )
    imgsz = math.ceil(side / 32) * 32
    advice = (
        f"train.imgsz={imgsz} is about {(snapshot.imgsz / imgsz) ** 2:.0f} times as fast; enlarging adds no detail, "
        "but helps with objects of a few pixels"
    )
    return [Finding("images.enlarged", "info", message, of_pictures(small), advice)]


def much_reduced(snapshot: Snapshot) -> list[Finding]:
    """Find pictures that lose more than three quarters of their resolution; a warning where their boxes get small."""
    large = snapshot.images.filter(pl.col("long_side") > REDUCED * snapshot.imgsz).sort("long_side", descending=True)
    if large.is_empty():
        return []
    boxes = snapshot.boxes.join(large.select("image_id"), on="image_id", how="semi")
    seen = boxes.select((pl.col("seen_width") * pl.col("seen_height")).sqrt().median()).item()
    side = large["long_side"][0]
    severity: Severity = "warning" if seen is not None and seen < SMALL_SEEN else "info"
    rest = "" if seen is None else f"; the usual box in them is then {seen:.0f} pixels large"
    message = (
        f"{large.height:,} of {counted(snapshot.images.height, 'picture')} (up to {side:,} pixels) are reduced to less "
        f"than a quarter for imgsz {snapshot.imgsz}{rest}"
    )
    advice = (
        f"tiles of about {2 * snapshot.imgsz} pixels (`tuneup tile`) keep the detail, in training and in prediction"
    )
    evidence = of_pictures(large, largest=side, seen_size=None if seen is None else plain(seen, 1))
    return [Finding("images.much_reduced", severity, message, evidence, advice)]


def huge(snapshot: Snapshot) -> list[Finding]:
    """Find pictures with more pixels than Pillow, and with it Ultralytics, takes for an honest file."""
    pixels = pl.col("width").cast(pl.Int64) * pl.col("height")
    large = snapshot.images.filter(pixels > BOMB).sort(pixels, descending=True)
    if large.is_empty():
        return []
    side = int(large["long_side"][0])
    message = (
        f"{counted(large.height, 'picture')} of more than {BOMB / 1e6:.0f} megapixels, the largest {side:,} pixels long"
    )
    advice = (
        "tiles (`tuneup tile`) are read much faster and keep the detail; plain Ultralytics takes such files for an "
        "attack and leaves them out"
    )
    return [Finding("images.huge", "warning", message, of_pictures(large), advice)]


def modes(snapshot: Snapshot) -> list[Finding]:
    """Say which kinds of pictures are mixed, and what becomes of those that are neither plain grey nor plain colour."""
    if snapshot.headers is None:
        return []
    known = _used(snapshot, snapshot.headers).with_columns(
        kind=pl.col("mode").replace(KINDS), special=pl.col("mode").is_in(list(TREATED))
    )
    counts = known.group_by("kind").len("count").sort(["count", "kind"], descending=[True, False])
    special = known.filter("special")
    if counts.height < 2 and special.is_empty():
        return []
    words = ", ".join(f"{name} {count:,}" for name, count in counts.iter_rows())
    treated = list(dict.fromkeys(TREATED[mode] for mode in special["mode"].unique(maintain_order=True)))
    message = "; ".join([f"pictures of {'several kinds' if counts.height > 1 else 'one kind'}: {words}", *treated])
    advice = "all are read as colour without transparency; look whether the others come from another camera or tool"
    if counts.height < 2:
        advice = "all are read as colour without transparency; look at some in the report whether they are as they were"
    unusual = (pl.col("kind") != counts["kind"][0]) | pl.col("special")
    others = known.filter(unusual).sort(pl.col("kind") == counts["kind"][0], maintain_order=True)
    evidence = of_pictures(others, kinds=dict(counts.iter_rows()), treated=treated)
    return [Finding("images.modes", "info", message, evidence, advice)]


def several_pages(snapshot: Snapshot) -> list[Finding]:
    """Find files that hold more than one picture, such as a scanned TIFF or an animation: only the first is read."""
    if snapshot.headers is None:
        return []
    found = _used(snapshot, snapshot.headers).filter(pl.col("pages") > 1).sort("pages", descending=True)
    if found.is_empty():
        return []
    rest = int((found["pages"].cast(pl.Int64) - 1).sum())
    message = (
        f"{counted(found.height, 'picture file holds', 'picture files hold')} more than one picture, up to "
        f"{found['pages'][0]:,}: only the first is read, and {rest:,} others are not seen"
    )
    advice = "save each page as a file of its own, with its own labels, if the others matter"
    evidence = of_pictures(found, pages=found["pages"].head(ROWS_NAMED).to_list(), not_read=rest)
    return [Finding("images.pages", "info", message, evidence, advice)]


def turned(snapshot: Snapshot) -> list[Finding]:
    """Count pictures turned by their EXIF data, where no intake has looked at what their labels state."""
    if snapshot.headers is None or snapshot.intake is not None:
        return []
    found = _used(snapshot, snapshot.headers).filter(pl.col("orientation") != 1)
    if found.is_empty():
        return []
    message = f"{counted(found.height, 'picture')} are turned by their EXIF data, in training and prediction alike"
    advice = "look at one of them with its boxes: the labels may have been drawn on the picture as it is stored"
    return [Finding("images.turned", "warning", message, of_pictures(found), advice)]


def _used(snapshot: Snapshot, headers: pl.DataFrame) -> pl.DataFrame:
    """Return the headers of the dataset's pictures; an intake knows those of unusable ones as well."""
    return headers.filter(pl.col("problem").is_null()).join(
        snapshot.images.select("path"), on="path", how="semi", maintain_order="left"
    )
