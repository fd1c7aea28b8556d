"""Damage and oddities of bytes, text, JSON, HDF5 and zip files, drawn from a `random.Random`."""

import io
import json
import random
import zipfile
from pathlib import Path

import h5py
import numpy as np

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = ["", "nan", "inf", "-1", "1e999", "51.0000001", "52", "0x1F", "1_0", "٣", "NULL", "=1+1", '"', "é", "\u200b",
         "JND1", "img1.png", "../x.png", "a\nb", "1,5", "9" * 400, "[1]", "{}", "\x1b[31m", "\0"]  # fmt: skip


def in_bytes(data: bytes, draw: random.Random) -> bytes:
    """Return data with one to sixteen changes, most of them near its start, where headers are."""
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        place = int(len(data) * draw.random() ** draw.choice((1, 1, 3)))
        length = draw.choice((1, 2, 4, 16, 256, 4096))
        change = draw.randrange(8)
        if change == 0 and data:
            data[place % len(data)] ^= 1 << draw.randrange(8)
        elif change in (1, 2):
            size = draw.choice((1, 2, 4))
            number = draw.choice(NUMBERS) & (1 << 8 * size) - 1
            data[place : place + size] = number.to_bytes(size, draw.choice(("big", "little")))
        elif change == 3:
            del data[place : place + length]
        elif change == 4:
            data[place:place] = data[place : place + length]
        elif change == 5:
            data[place : place + length] = draw.randbytes(len(data[place : place + length]))
        elif change == 6:
            data[place : place + length] = bytes(len(data[place : place + length]))
        elif draw.random() < 0.5:
            del data[place:]
    return bytes(data)


def in_text(text: str, draw: random.Random) -> bytes:
    """Return a table as bytes, as people, spreadsheets and accidents change one."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        lines = text.split("\n")
        number = draw.randrange(len(lines))
        line = lines[number]
        separator = next((one for one in ",;\t " if one in line), ",")
        fields = line.split(separator)
        change = draw.randrange(12)
        if change == 0:
            lines.insert(draw.randrange(len(lines) + 1), line)
        elif change == 1:
            del lines[number]
        elif change == 2:
            fields[draw.randrange(len(fields))] = draw.choice(WORDS)
        elif change == 3:
            fields.insert(draw.randrange(len(fields) + 1), draw.choice(WORDS))
        elif change == 4:
            del fields[draw.randrange(len(fields))]
        elif change == 5:
            fields = [f'"{field}"' for field in fields]
        elif change == 6:
            draw.shuffle(lines)
        elif change == 7:
            lines[number] = draw.choice(("# " + line, line + " # note", line + separator, f" {line} ", line + "\r"))
        elif change == 8:
            other = draw.choice(",;\t| ")
            lines = [one.replace(separator, other) for one in lines]
        elif change == 9:
            lines[number] = line[: draw.randrange(len(line) + 1)]
        elif change == 10:
            lines[number] = line + draw.choice(WORDS) * draw.choice((1, 500))
        if change in (2, 3, 4, 5):
            lines[number] = separator.join(fields)
        text = "\n".join(lines)
    data = text.encode(draw.choice(("utf-8",) * 6 + ("utf-8-sig", "utf-16", "utf-32", "cp1252")), "replace")
    if draw.random() < 0.2:
        data = data.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\r\r\n", b"")))
    return in_bytes(data, draw) if draw.random() < 0.15 else data


def in_json(data: bytes, draw: random.Random) -> bytes:
    """Return JSON with a value, somewhere in it, of another kind; or other bytes."""
    if draw.random() < 0.3:
        return in_bytes(data, draw)
    content, places = json.loads(data), []

    def collect(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                collect(node[key])

    collect(content)
    for node, key in draw.sample(places, min(len(places), draw.choice((1, 1, 3)))):
        values = [None, [], {}, "", "x", "../../x", -1, 1e999, 10**400, True, [node[key]], {"x": node[key]}, "\ud800"]
        node[key] = draw.choice(values)
        if isinstance(node, dict) and draw.random() < 0.3:
            del node[key]
    return json.dumps(draw.choice((content, content, content, [content], None, 3))).encode()


def in_hdf5(data: bytes, draw: random.Random) -> bytes:
    """Return a weight file with something else in it, or other bytes."""
    if draw.random() < 0.5:
        return in_bytes(data, draw)
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        groups = [name for name in file if isinstance(file[name], h5py.Group)]
        arrays = []
        file.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
        name, array = draw.choice(groups), draw.choice(arrays)
        values = file[array][()]
        values = [values.T, values[..., None], values.astype("f8") * np.inf, values.astype("c8"), values.astype("i4"),
                  np.void(b"x"), "text", np.zeros((0, 3)), values.astype("f8") * 1e300, h5py.Empty("f4")]  # fmt: skip
        lists = [
            [],
            [b"x"],
            [b"\xff"],
            3,
            b"layer",
            np.zeros((2, 2)),
            [name.encode()] * 99,
            h5py.Empty("S1"),
            ["é" * 9],
        ]
        change = draw.randrange(8)
        if change == 0:
            del file[draw.choice([name, array])]
        elif change == 1:
            del file[array]
            file[array] = draw.choice(values)
        elif change == 2:
            file.attrs["layer_names"] = draw.choice(lists)
        elif change == 3:
            file[name].attrs["weight_names"] = draw.choice(lists)
        elif change == 4:
            place = draw.choice((file, file[name]))
            for key in draw.sample(list(place.attrs), len(place.attrs) and 1):
                del place.attrs[key]
        elif change == 5:
            del file[array]
            file[array] = draw.choice(
                [h5py.SoftLink("/" + array), h5py.SoftLink("/no"), h5py.ExternalLink("x.h5", "/")]
            )
        elif change == 6:
            del file[array]
            shape, chunks = draw.choice([((2**40,), (1,)), ((2**20, 2**20), (2**10, 2**10)), ((3, 3), (3, 3))])
            file.create_dataset(array, shape, "f4", chunks=chunks, compression=draw.choice((None, "gzip", "lzf")))
        else:
            del file[array]
            file.create_group(array)
    return buffer.getvalue()


def in_zip(members: dict[str, bytes], draw: random.Random) -> bytes:
    """Return a zip of these members, with odd ones among them, or other bytes."""
    members = dict(members)
    if draw.random() < 0.6:
        name = draw.choice(list(members))
        odd = ["../x.h5", "/x.h5", "a\\x.h5", "x.h5/y.h5", name.upper(), "C:x.h5", "x\n.h5", "é" * 200 + ".h5", "", "/",
               "README", "a/../b.h5", "con.h5", ".", "x" * 300 + ".h5", "../README", "\u202egnp.h5"]  # fmt: skip
        members[draw.choice(odd)] = draw.choice((members[name], b"", bytes(1 << 22), b"x" * 99))
        if draw.random() < 0.3:
            del members[name]
    buffer = io.BytesIO()
    modes = (0, 0o100644) if draw.random() < 0.7 else (0, 0o100644, 0o120777, 0o040755, 0o020666)
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name or "x")
            info.filename = name
            info.external_attr = draw.choice(modes) << 16
            archive.writestr(info, content, draw.choice((0, 8, 12, 14)))
    return in_bytes(buffer.getvalue(), draw) if draw.random() < 0.6 else buffer.getvalue()


def write(path: Path, data: bytes) -> None:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
