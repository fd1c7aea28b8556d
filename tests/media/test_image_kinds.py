"""Each kind of image is the array that it was written from, or is refused by name; damage is never passed over."""

import base64
import io
import itertools
import os
import re
import struct
import subprocess
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from common.core.errors import UserError
from common.media.ffmpeg_process import find_ffmpeg
from common.media.images import animation_warning, read_image

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")

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


@pytest.mark.parametrize("kind", TIFFS)
def test_a_tiff_is_the_array_that_it_was_written_from(tmp_path, kind):
    shown = write_tiff_kind(tmp_path / "a.tif", kind)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), shown)


def test_a_colour_map_of_0_to_255(tmp_path):
    """The standard says 0 to 65535; libtiff recognises what some programs write instead."""
    colours = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint16)
    indices = texture(1).astype(np.uint16)
    path = write_tiff(tmp_path / "a.tif", indices, 8, PALETTE, more={320: (3, colours.T.ravel().tolist())})
    np.testing.assert_array_equal(read_image(path), colours[indices[..., 0]])


@pytest.mark.parametrize("orientation, turned", [(3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1))])
@pytest.mark.parametrize("bits, colour", [(8, GRAY), (16, GRAY), (8, PALETTE), (8, RGB)])
def test_a_tiff_is_turned_as_its_tag_says(tmp_path, bits, colour, orientation, turned):
    samples = texture(3 if colour == RGB else 1)
    more = {274: (3, [orientation]), **({320: (3, [*range(0, 65536, 257)] * 3)} if colour == PALETTE else {})}
    path = write_tiff(
        tmp_path / "a.tif", samples.astype(np.uint16) * (257 if bits == 16 else 1), bits, colour, more=more
    )
    shown = turned(np.broadcast_to(samples, (HEIGHT, WIDTH, 3)))
    np.testing.assert_array_equal(read_image(path), shown)


def test_colours_multiplied_by_alpha_are_divided_by_it(tmp_path):
    samples = texture(4).astype(np.uint16)
    samples[..., 3] = 128
    samples[..., :3] = samples[..., :3] // 2
    path = write_tiff(tmp_path / "a.tif", samples, 8, RGB, more={338: (3, [1])})
    assert np.abs(read_image(path) - samples[..., :3] / 128 * 255).max() <= 1


@pytest.mark.parametrize(
    "channels, bits, colour, options, said",
    [
        (1, 14, GRAY, {}, "14-bit, gray"),
        (1, 12, GRAY, {"order": ">"}, "12-bit, gray, 1 sample a pixel, big-endian"),
        (3, 8, RGB, {"order": ">", "big": True}, "big-endian BigTIFF"),
        (1, 16, WHITE_IS_ZERO, {"order": ">"}, "16-bit, gray (white is zero), 1 sample a pixel, big-endian"),
        (1, 16, GRAY, {"more": {339: (3, [2])}}, "16-bit, signed, gray"),
        (1, 8, GRAY, {"more": {339: (3, [2])}}, "8-bit, signed, gray"),
        (2, 8, GRAY, {"planar": True, "deflate": True, "more": {338: (3, [2])}}, "8-bit, gray, 2 samples a pixel, in"),
        (2, 16, GRAY, {"more": {338: (3, [2])}}, "16-bit, gray, 2 samples"),
        (3, 8, LAB, {}, "8-bit, CIELab"),
        (3, 8, YCBCR, {}, "8-bit, YCbCr"),
        (4, 8, CMYK, {"more": {332: (3, [2])}}, "8-bit, CMYK"),
        (4, 16, CMYK, {"planar": True}, "16-bit, CMYK, 4 samples a pixel, in planes"),
        (3, 12, RGB, {}, "12-bit, RGB"),
        (1, 8, GRAY, {"more": {32997: (4, [2])}}, "8-bit, gray, 1 sample a pixel"),
        (5, 8, RGB, {"planar": True, "more": {338: (3, [0, 0])}}, "8-bit, RGB, 5 samples"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tiff_that_is_not_known_is_refused_by_name(tmp_path, channels, bits, colour, options, said):
    samples = np.zeros((HEIGHT, WIDTH, channels), np.uint16)
    path = write_tiff(tmp_path / "a.tif", samples, bits, colour, **options)
    with pytest.raises(UserError, match=re.escape(f"a.tif: a TIFF of a kind that is not read ({said}")):
        read_image(path)


def test_a_tiff_of_too_many_samples_is_one_line(tmp_path, run):
    """Pillow logs an error, which Python would print."""
    path = write_tiff(tmp_path / "a.tif", texture(), 8, RGB, more={277: (3, [255])})
    done = run("-c", f"from common.media.images import read_image; read_image({str(path)!r})")
    assert "(8-bit, RGB, 255 samples a pixel)" in done.stderr.splitlines()[-1]
    assert done.stderr.startswith("Traceback")


def test_a_tiff_of_an_unknown_compression_says_so(tmp_path):
    path = write_tiff(tmp_path / "a.tif", texture(), 8, RGB, more={259: (3, [50002])})
    with pytest.raises(UserError, match=r"\(8-bit, RGB, 3 samples a pixel, compression 50002\); save it as PNG"):
        read_image(path)


def test_a_jpeg_2000_whose_colours_pillow_rounds_up_to_black_is_refused(tmp_path):
    white = "|4;u>051Rl000020000200000000000000200002000000000000RpF0Sf^E3jqQDQUDA90003200aa80smY81VCW_WB?@q0Yh?S"
    white += "VRU6=AYyqSPjF>!N>D{dAa-SPb7^mGATlmBE;Rp;015yA0000M00IA#&*TgN%D;es|Je"
    (tmp_path / "a.j2k").write_bytes(base64.b85decode(white))
    with pytest.raises(UserError, match="a JPEG 2000 of 12 bits in more than one channel"):
        read_image(tmp_path / "a.j2k")


def test_a_jpeg_2000_of_signed_samples_is_refused(tmp_path):
    Image.fromarray(texture(1)[..., 0]).save(tmp_path / "a.jp2", signed=True)
    with pytest.raises(UserError, match="a JPEG 2000 of signed samples, which is not read; save it as PNG"):
        read_image(tmp_path / "a.jp2")


@pytest.mark.parametrize("place, value", [(41, 0), (43, 128)])
def test_a_jpeg_2000_whose_channels_differ_is_refused(tmp_path, place, value):
    """Bits of the second, samples in a row of it."""
    Image.fromarray(texture()).save(tmp_path / "a.j2k")
    before, mark, sizes = (tmp_path / "a.j2k").read_bytes().partition(b"\xff\x4f\xff\x51")
    (tmp_path / "a.j2k").write_bytes(before + mark + sizes[:place] + bytes([value]) + sizes[place + 1 :])
    with pytest.raises(UserError, match="a JPEG 2000 of channels with other bits or far fewer samples"):
        read_image(tmp_path / "a.j2k")


def test_a_jpeg_2000_without_its_coded_data_is_called_damaged(tmp_path):
    path = tmp_path / "a.jp2"
    Image.new("RGB", (16, 16)).save(path)
    path.write_bytes(path.read_bytes().partition(b"\xff\x4f\xff\x51")[0])
    with pytest.raises(UserError, match="cannot be decoded .*: damaged"):
        read_image(path)


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


@pytest.mark.parametrize("name", OTHERS)
def test_a_lossless_image_is_the_array_that_it_was_written_from(tmp_path, name):
    shown = write_other(tmp_path, name)
    np.testing.assert_array_equal(read_image(tmp_path / name), shown)


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_image_is_near_the_array_that_it_was_written_from(tmp_path, name):
    shown = write_other(tmp_path, name)
    error = np.abs(read_image(tmp_path / name).astype(int) - shown)
    assert error.mean() < 3 and error.max() < 30


@pytest.mark.parametrize(
    "start, said",
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image, which is not read; save it as PNG"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heix", "a HEIC image"),
        (b"\xff\x0a\xfa", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b'<?xml version="1.0"?>\n<!-- x -->\n<svg>', "an SVG drawing"),
        (b"%PDF-1.7", "a PDF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "not an image"),
    ],
)
def test_a_kind_that_is_not_read_is_named(tmp_path, start, said):
    (tmp_path / "a.jpg").write_bytes(start + bytes(200))
    with pytest.raises(UserError, match=f"a.jpg: {said}"):
        read_image(tmp_path / "a.jpg")


def test_pages_of_a_tiff_are_said_and_a_thumbnail_is_not_taken_for_the_image(tmp_path):
    first, second = Image.fromarray(texture()), Image.fromarray(255 - texture())
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), texture())
    assert animation_warning(tmp_path / "a.tif") == "only the first of its 2 pages is seen"
    thumbnail = TiffImagePlugin.ImageFileDirectory_v2()
    thumbnail[254] = 1
    first.save(tmp_path / "b.tif", tiffinfo=thumbnail)
    read_image(tmp_path / "b.tif")
    first.save(tmp_path / "b.tif", tiffinfo=thumbnail, save_all=True, append_images=[second])
    with pytest.raises(UserError, match="b.tif: .*its first page is a thumbnail"):
        read_image(tmp_path / "b.tif")


@pytest.mark.parametrize("highest", [1, 100, 255, 300, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pnm_is_scaled_from_its_highest_value(tmp_path, channels, highest):
    samples = np.rint(texture(channels) / 255 * highest).astype(">u2" if highest > 255 else "u1")
    header = f"P{5 if channels == 1 else 6} {WIDTH} {HEIGHT} {highest}\n".encode()
    (tmp_path / "a.ppm").write_bytes(header + samples.tobytes())
    assert np.abs(read_image(tmp_path / "a.ppm") - samples / highest * 255).max() <= 1


@pytest.mark.parametrize("form, highest, pixels", [("P5", 100, b"\xc8"), ("P6", 1000, b"\1\xff\2\0\3\xe9")])
def test_a_pnm_with_samples_above_its_maximum_is_refused(tmp_path, form, highest, pixels):
    """The standard: "a number from 0 through Maxval"."""
    (tmp_path / "a.pnm").write_bytes(f"{form} 1 2 {highest}\n".encode() + bytes(len(pixels)) + pixels + b"P5 more")
    with pytest.raises(UserError, match=rf"a.pnm: its samples go to \d+, but its header says {highest} at most; save"):
        read_image(tmp_path / "a.pnm")


@pytest.mark.parametrize(
    "name, change, said",
    [
        ("a.gif", lambda data: data[:40] + bytes(3) + data[40:], "damaged (unknown bytes before its first frame)"),
        ("a.bmp", lambda data: data[:-1], "damaged (coded data is missing)"),
        ("a.tif", lambda data: data.replace(b"\x17\1\4\0", b"\x17\2\4\0"), "damaged (coded data is missing)"),
        ("a.tif", lambda data: data.replace(b"\x11\1\4\0\1\0\0\0\x08", b"\x11\1\4\0\1\0\0\0\0"), "damaged (coded"),
        ("tiles.tif", lambda data: data[:-1], "damaged (coded data is missing)"),
        ("tiles.tif", lambda data: data.replace(b"\1\0\0\0\x25", b"\1\0\0\0\xff"), "damaged (coded"),
    ],
)
def test_bytes_that_moved_or_are_missing_are_noticed(tmp_path, name, change, said):
    """Pillow skips or replaces them, so that colours or rows would be wrong."""
    sound = io.BytesIO()
    if name == "tiles.tif":
        tifffile.imwrite(sound, texture(), tile=(16, 16))
    elif name == "a.tif":
        sound.write(write_tiff(tmp_path / name, texture(1), 8, GRAY).read_bytes())
    else:
        Image.fromarray(texture()).convert("P").save(sound, name[2:])
    (tmp_path / name).write_bytes(change(sound.getvalue()))
    with pytest.raises(UserError, match=re.escape(said)):
        read_image(tmp_path / name)


def photo():
    """Of 300 x 200, with enough detail that its coded data has no run of zeros."""
    y, x = np.mgrid[:200, :300]
    noise = np.random.default_rng(0).normal(0, 25, (200, 300, 1))
    return np.clip(np.stack([x / 2 + 50, y, 250 - x / 2], axis=-1) + noise, 0, 255).astype(np.uint8)


def cut(data):
    return data[: len(data) * 55 // 100] + b"\xff\xd9"


def zero_tail(data):
    return data[: len(data) * 55 // 100].ljust(len(data) - 2, b"\0") + b"\xff\xd9"


def zero_middle(data):
    return data[: len(data) // 2] + bytes(2000) + data[len(data) // 2 + 2000 :]


JPEGS = {
    "baseline": {},
    "fine": {"quality": 97, "subsampling": 0},
    "optimized": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
}


@pytest.mark.parametrize("damage", [cut, zero_tail, zero_middle], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_damaged_jpeg_that_decodes_is_named(tmp_path, mode, options, damage):
    path = tmp_path / "a.jpg"
    Image.fromarray(photo()).convert(mode).save(path, **options)
    read_image(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="a.jpg: damaged|a.jpg: cannot be decoded"):
        read_image(path)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_progressive_jpeg_without_its_last_scan_is_named(tmp_path, mode):
    path = tmp_path / "a.jpg"
    Image.fromarray(photo()).convert(mode).save(path, progressive=True)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\xff\xc4")] + b"\xff\xd9")  # before the Huffman table of that scan
    with pytest.raises(UserError, match=r"a.jpg: damaged \(coded data is missing\)"):
        read_image(path)


CRC_OF_ABCD = zlib.crc32(b"ABCD").to_bytes(4, "big")


def other_chunk(data, name, new):
    """A PNG with other bytes in place of a chunk, whose length, name, data and checksum `new` gets."""
    start = data.index(name) - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    return data[:start] + new(data[start:end]) + data[end:]


@pytest.mark.parametrize(
    "mode, name, new, said",
    [
        ("RGB", b"IDAT", lambda chunk: chunk[:-4] + bytes(4), r"damaged \(a wrong checksum\)"),
        ("1", b"IDAT", lambda chunk: chunk[:-4] + bytes(4), r"damaged \(a wrong checksum\)"),
        ("P", b"PLTE", lambda chunk: b"", r"damaged \(its palette is missing\)"),
        ("RGB", b"IDAT", lambda chunk: bytes(4) + b"ABCD" + CRC_OF_ABCD + chunk, r"damaged \(an unknown chunk ABCD\)"),
        ("RGB", b"IHDR", lambda chunk: b"\0\0\0\4CgBI" + bytes(8) + chunk, "a PNG of Apple's own form"),
        ("RGB", b"IHDR", lambda chunk: chunk[:-4] + bytes(4), "its header is damaged"),
    ],
)
def test_a_png_that_pillow_guesses_at_is_refused(tmp_path, mode, name, new, said):
    path = tmp_path / "a.png"
    Image.fromarray(photo()).convert(mode).save(path)
    read_image(path)
    path.write_bytes(other_chunk(path.read_bytes(), name, new))
    with pytest.raises(UserError, match=f"a.png: {said}"):
        read_image(path)


@pytest.mark.parametrize("suffix, options", [("avif", {}), ("webp", {}), ("webp", {"lossless": True}), ("jp2", {})])
def test_zeros_in_an_avif_webp_or_jpeg_2000_are_named(tmp_path, suffix, options):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x010E] = "\0" * 300  # zeros that belong there
    Image.fromarray(photo()).save(path, exif=exif, **options)
    read_image(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2].ljust(len(data) - 2, b"\0") + b"\xff\xd9")
    with pytest.raises(UserError, match=f"a.{suffix}: damaged|a.{suffix}: cannot be decoded"):
        read_image(path)


def test_an_avif_with_one_wrong_byte_is_refused(tmp_path):
    """AV1 has no checksum, and dav1d makes a picture of anything; OpenCV's libaom refuses it."""
    if "libaom-av1" not in subprocess.run([find_ffmpeg(), "-decoders"], capture_output=True, text=True).stdout:
        pytest.skip("needs an FFmpeg with libaom")
    path = tmp_path / "a: 100% ü.avif"
    Image.fromarray(photo()).save(path, save_all=True, append_images=[Image.fromarray(photo()[::-1])])
    read_image(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 90
    path.write_bytes(data)
    np.asarray(Image.open(path))  # without a word
    with pytest.raises(UserError, match=r"ü.avif: damaged \(a corrupt frame\)"):
        read_image(path)


def test_a_bigtiff_with_another_size_of_offsets_is_refused(tmp_path):
    path = write_tiff(tmp_path / "a.tif", texture(), 8, RGB, big=True)
    read_image(path)
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\x04" + data[5:])
    with pytest.raises(UserError, match="damaged .its header is not that of a BigTIFF"):
        read_image(path)


def sound_jpegs():
    """What looks like damage and is none."""

    def jpeg(pixels, **options):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", **options)
        return file.getvalue()

    gray, white = np.full((400, 600, 3), 128, np.uint8), photo()
    white[100:] = 255
    gray_end = photo()
    gray_end[100:] = 128
    for name, options in JPEGS.items():
        yield f"all gray, {name}", jpeg(gray, **options)
        yield f"white below, {name}", jpeg(white, **options)
        yield f"gray below, {name}", jpeg(gray_end, **options)
        data = jpeg(photo(), **options)
        yield f"motion photo, {name}", data + bytes(500) + b"ftypmp42"
        yield f"zeros before the end mark, {name}", data[:-2] + bytes(100) + data[-2:]
        yield f"no end mark's worth of fill bytes, {name}", data[:-2] + b"\xff" * 3 + data[-2:]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in sound_jpegs()])
def test_a_sound_jpeg_is_read(tmp_path, data):
    (tmp_path / "a.jpg").write_bytes(data)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("suffix", ["avif", "webp", "jp2"])
@pytest.mark.parametrize("size", [(64, 48), (1500, 1000)], ids=str)
def test_a_flat_image_is_read(tmp_path, suffix, size):
    Image.new("RGB", size).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}").max() <= 2


def test_no_program_is_started_for_an_image(tmp_path, monkeypatch):
    """Pillow would hand an EPS to Ghostscript, whatever the file is called."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="a.jpg: not an image, or of an unknown kind"):
        read_image(tmp_path / "a.jpg")
    assert not (tmp_path / "started").exists()
