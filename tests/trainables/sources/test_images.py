"""Decoding: exact pixels, grey and colour, sizes, and files that are no images."""

import io
from functools import partial

import numpy as np
import pytest
from PIL import Image

from trainables.errors import InputError
from trainables.sources import images

PIXELS = np.random.RandomState(0).randint(0, 256, (3, 5, 4, 3)).astype(np.uint8)


def encoded(pixels, mode=None, kind="PNG"):
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, kind)
    return buffer.getvalue()


def decode(*data, size=None):
    return images.decode([partial(bytes, d) for d in data], [f"i{i}" for i in range(len(data))],
                         size)


def test_lossless_pixels_channels_first():
    out = decode(*(encoded(p) for p in PIXELS))
    assert np.array_equal(out, PIXELS.transpose(0, 3, 1, 2))
    grey = decode(*(encoded(p[..., 0]) for p in PIXELS))
    assert np.array_equal(grey, PIXELS[:, None, :, :, 0])


MODES = [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)]


@pytest.mark.parametrize(("mode", "channels"), MODES)
def test_modes(mode, channels):
    assert decode(encoded(PIXELS[0], mode)).shape == (1, channels, 5, 4)


def test_grey_among_colour_becomes_colour():
    out = decode(encoded(PIXELS[0, ..., 0]), encoded(PIXELS[1]))
    assert np.array_equal(out[0], np.stack([PIXELS[0, ..., 0]] * 3))
    assert np.array_equal(out[1], PIXELS[1].transpose(2, 0, 1))


def test_resized_to_a_square():
    out = decode(encoded(PIXELS[0]), encoded(PIXELS[1, :3]), size=8)
    assert out.shape == (2, 3, 8, 8)


def png_header(width, height):
    import struct
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"IEND"
    chunk = lambda b: struct.pack(">I", len(b) - 4) + b + struct.pack(">I", zlib.crc32(b))  # noqa: E731
    return b"\x89PNG\r\n\x1a\n" + chunk(body) + chunk(b"IDAT") + chunk(end)


REFUSED = [
    (b"", "i0 cannot be decoded: it is empty"),
    (b"not an image", "i0 cannot be decoded: it is not an image"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is not an image"),  # a program
    (encoded(PIXELS[0])[:60], "i0 cannot be decoded"),
    (encoded(np.zeros((50, 50, 3), np.uint8), kind="JPEG")[:-40], "i0 cannot be decoded"),
    (png_header(1 << 30, 1 << 30), "i0"),                       # a bomb: refused by its header
    (encoded(np.zeros((4, 4), np.uint16)), "more than 8 bits"),  # would be clipped silently
]


@pytest.mark.parametrize(("data", "what"), REFUSED)
def test_refused(data, what):
    with pytest.raises(InputError) as caught:
        decode(data)
    assert what in caught.value.what
    assert "Bytes" not in caught.value.what
    assert caught.value.fix


def test_sizes_must_agree():
    with pytest.raises(InputError, match="i1 is 4x3, i0 is 4x5") as caught:
        decode(encoded(PIXELS[0]), encoded(PIXELS[1, :3]))
    assert caught.value.key == "data.image_size"
