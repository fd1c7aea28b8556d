"""Kinds of images, written without the decoders that are tested."""

import itertools
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 18, 37
WHITE_IS_ZERO, GRAY, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8


def texture(channels=3):
    """Smooth, so that a lossy format keeps it, and different in each channel and corner: uint8 (H, W, channels)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] / [[[HEIGHT]], [[WIDTH]]]
    planes = [x, y, 1 - x, 0.3 + 0.7 * y]
    return np.rint(np.stack(planes[:channels], axis=-1) * 255).astype(np.uint8)


def packed(samples, bits, order):
    """Rows of samples (H, W, channels) as bytes, each row filled up to a whole byte."""
    if bits in (8, 16):
        return samples.astype(np.dtype(f"u{bits // 8}").newbyteorder(order)).tobytes()
    rows = samples.reshape(len(samples), -1)
    digits = (rows[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)
    return np.packbits(digits.reshape(len(rows), -1), axis=1).tobytes()


def write_tiff(path, samples, bits, colour, *, order="<", planar=False, deflate=False, big=False, more=()):
    """Write samples (H, W, channels) of so many bits as a TIFF; more: further tags, {number: (type, values)}."""
    channels = samples.shape[2]
    planes = [samples[..., i : i + 1] for i in range(channels)] if planar else [samples]
    strips = [packed(plane, bits, order) for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    tags = {256: (3, [WIDTH]), 257: (3, [HEIGHT]), 258: (3, [bits] * channels), 259: (3, [8 if deflate else 1])}
    tags |= {262: (3, [colour]), 277: (3, [channels]), 278: (3, [HEIGHT]), 284: (3, [1 + planar])}
    start = 16 if big else 8
    tags |= {
        279: (4, list(map(len, strips))),
        273: (4, [start + sum(map(len, strips[:i])) for i in range(len(strips))]),
    }
    tags |= dict(more)
    place = start + sum(map(len, strips))
    place, gap = place + place % 2, b"\0" * (place % 2)
    size, count, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    values, entries = b"", []
    after = place + struct.calcsize(f"={count}") + len(tags) * (4 + 2 * room) + room
    for number, (kind, content) in sorted(tags.items()):
        data = struct.pack(f"{order}{len(content)}{'HI'[kind - 3]}", *content)
        field = data.ljust(room, b"\0") if len(data) <= room else struct.pack(f"{order}{size}", after + len(values))
        values += data if len(data) > room else b""
        entries.append(struct.pack(f"{order}HH{size}", number, kind, len(content)) + field)
    mark = b"II" if order == "<" else b"MM"
    header = struct.pack(f"{order}HHHQ", 43, 8, 0, place) if big else struct.pack(f"{order}HI", 42, place)
    directory = struct.pack(f"{order}{count}", len(tags)) + b"".join(entries) + struct.pack(f"{order}{size}", 0)
    path.write_bytes(mark + header + b"".join(strips) + gap + directory + values)
    return path


def tiff_kinds():
    """(name, channels, bits, colour, options) of the kinds that are read."""
    for order, deflate in itertools.product("<>", (False, True)):
        options = {"order": order, "deflate": deflate}
        name = f"{'big' if order == '>' else 'little'}-endian{', deflate' * deflate}"
        for bits in (8, 16):
            for planar in (False, True):
                where = f"{bits} bits{', planes' * planar}, {name}"
                yield f"RGB, {where}", 3, bits, RGB, {**options, "planar": planar}
                yield f"RGB and alpha, {where}", 4, bits, RGB, {**options, "planar": planar, "more": {338: (3, [2])}}
        for bits in (1, 2, 4, 8, 12, 16):
            if bits != 12 or order == "<":
                yield f"gray, {bits} bits, {name}", 1, bits, GRAY, options
            if bits < 12 or order == "<" and bits == 16:
                yield f"white is zero, {bits} bits, {name}", 1, bits, WHITE_IS_ZERO, options
        for bits in (4, 8):
            yield f"palette, {bits} bits, {name}", 1, bits, PALETTE, options
        yield f"gray and alpha, 8 bits, {name}", 2, 8, GRAY, {**options, "more": {338: (3, [2])}}
        if order == "<":
            yield f"BigTIFF, 16 bits, {name}", 3, 16, RGB, {**options, "big": True}


TIFFS = {name: rest for name, *rest in tiff_kinds()}


def write_tiff_kind(path, kind):
    """Write the TIFF of a name in TIFFS; return what it shows."""
    channels, bits, colour, options = TIFFS[kind]
    top = 2**bits - 1
    samples = np.rint(texture(channels) / 255.0 * top).astype(np.uint16)
    if bits > 8:
        samples = samples & 0xFFC0 | 0x15  # low bits that must not matter
    shown = (samples >> bits - 8 if bits > 8 else samples.astype(int) * 255 // top)[..., :3].astype(np.uint8)
    stored = top - samples if colour == WHITE_IS_ZERO else samples
    if colour == PALETTE:
        colours = np.random.default_rng(0).integers(0, 256, (2**bits, 3), dtype=np.uint16)
        shown = colours[samples[..., 0]].astype(np.uint8)
        options = {**options, "more": {320: (3, (colours.T.ravel() * 257).tolist())}}
    if channels == 2:
        shown = shown[..., :1]
    write_tiff(path, stored, bits, colour, **options)
    return np.broadcast_to(shown, (HEIGHT, WIDTH, 3))


def deep(samples):
    """Gray of 16 bits, whose high bytes are the samples."""
    return Image.fromarray(samples[..., 0].astype(np.uint16) << 8 | 0x15)


OTHERS = {
    "gray.png": (1, Image.fromarray, {}),
    "gray and alpha.png": (2, Image.fromarray, {}),
    "rgb.png": (3, Image.fromarray, {}),
    "rgba.png": (4, Image.fromarray, {}),
    "16 bits.png": (1, deep, {}),
    "interlaced size.webp": (3, Image.fromarray, {"lossless": True}),
    "rgba.webp": (4, Image.fromarray, {"lossless": True, "exact": True}),
    "gray.jp2": (1, Image.fromarray, {}),
    "gray and alpha.jp2": (2, Image.fromarray, {}),
    "rgb.jp2": (3, Image.fromarray, {}),
    "rgba.jp2": (4, Image.fromarray, {}),
    "16 bits.jp2": (1, deep, {}),
    "rgb.j2k": (3, Image.fromarray, {"no_jp2": True}),
    "gray.tga": (1, Image.fromarray, {}),
    "rgba.tga": (4, Image.fromarray, {"compression": "tga_rle"}),
    "gray.pgm": (1, Image.fromarray, {}),
    "lzw.tif": (3, Image.fromarray, {"compression": "tiff_lzw"}),
    "packbits.tif": (4, Image.fromarray, {"compression": "packbits"}),
    "zstd.tif": (1, deep, {"compression": "zstd"}),
}
LOSSY = {
    "rgb.jpg": (3, {"quality": 98, "subsampling": 0}),
    "gray.jpg": (1, {"quality": 98}),
    "progressive.jpg": (3, {"quality": 98, "subsampling": 0, "progressive": True}),
    "optimized.jpg": (3, {"quality": 98, "subsampling": 2, "optimize": True}),
    "restarts.jpg": (3, {"quality": 98, "subsampling": 0, "restart_marker_blocks": 2}),
    "rgb.webp": (3, {"quality": 100}),
    "gray.avif": (1, {"quality": 95}),
    "rgb.avif": (3, {"quality": 95, "subsampling": "4:4:4"}),
    "rgba.avif": (4, {"quality": 95, "subsampling": "4:4:4"}),
    "jpeg.tif": (3, {"compression": "jpeg", "quality": 98}),
}


def write_other(folder, name):
    """Write the image of a name in OTHERS or LOSSY; return what it shows."""
    channels, make, options = OTHERS.get(name) or (LOSSY[name][0], Image.fromarray, LOSSY[name][1])
    samples = texture(channels)
    make(samples[..., 0] if channels == 1 and make is not deep else samples).save(folder / name, **options)
    return np.broadcast_to(samples[..., : 1 if channels < 3 else 3], (HEIGHT, WIDTH, 3))
