"""Encoded images, decoded to uint8 arrays (n, C, H, W)."""

import io
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trainables.errors import InputError
from trainables.sources.arrays import check_size

# Only formats that Pillow decodes itself: EPS, for one, would start another program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
GREY = ("1", "L", "LA")
DEEP = ("I", "F", "I;16", "I;16B", "I;16L")
KEY = "data.path"


def decode(encoded: Sequence[Callable[[], bytes]], names: Sequence[str], size: int | None
           ) -> np.ndarray:
    """All images, grey ones with one channel unless some are in colour; resized if ``size``.

    One thread: small images decode in 0.1 ms, and threads make them slower (measured).
    """
    first = _pixels(encoded[0](), names[0], size)
    check_size(first.size * len(encoded), "the set of decoded images")

    images = []
    for read, name in zip(encoded, names, strict=True):
        images.append(_pixels(read(), name, size))
        if images[-1].shape[:2] != first.shape[:2]:
            raise InputError(
                f"{name} is {_extent(images[-1])}, {names[0]} is {_extent(first)}",
                key="data.image_size", fix="set data.image_size, to resize all images to a square")
    channels = max(image.shape[2] for image in images)
    out = np.empty((len(images), channels, *first.shape[:2]), dtype=np.uint8)
    for place, image in zip(out, images, strict=True):
        place[...] = image.transpose(2, 0, 1)
    return out


def _pixels(data: bytes, name: str, size: int | None) -> np.ndarray:
    """(H, W, 1 or 3) uint8."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image, name)
            plain = image.convert("L" if image.mode in GREY else "RGB")
            if size is not None:
                plain = plain.resize((size, size), Image.Resampling.BILINEAR)
            pixels = np.asarray(plain)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error,
            Image.DecompressionBombError) as error:
        raise InputError(f"{name} cannot be decoded: {_reason(error, data)}", key=KEY,
                         fix="remove or replace it") from error
    return pixels.reshape(*pixels.shape[:2], -1)


def _check_header(image: Any, name: str) -> None:
    """InputError before anything is decoded that would be too large, or lose bits."""
    check_size(image.width * image.height * 4, name)
    if image.mode in DEEP:
        raise InputError(f"{name} has pixels of more than 8 bits", key=KEY,
                         fix="convert such images to arrays and use npz:PATH")


def _reason(error: Exception, data: Any) -> str:
    if not data:
        return "it is empty"
    text = str(error)
    return "it is not an image" if "BytesIO" in text else text


def _extent(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
