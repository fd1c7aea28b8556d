"""Damage and oddities of bytes, text, JSON, HDF5 and zip files, drawn from a `random.Random`."""

import io
import json
import random
import zipfile
from pathlib import Path

import h5py
import numpy as np
from conftest import zipped

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = ["", "nan", "inf", "-1", "1e999", "51.0000001", "52", "0x1F", "1_0", "٣", "NULL", "=1+1", '"', "é", "\u200b",
         "JND1", "img1.png", "../x.png", "a\nb", "1,5", "9" * 400, "[1]", "{}", "\x1b[31m", "\0"]  # fmt: skip


def mutate(file: Path, draw: random.Random) -> bytes:
    """Return the content of a file, damaged as its kind may be."""
    content, suffix = file.read_bytes(), file.suffix
    if suffix in (".txt", ".csv", ".jsonl"):
        return in_text(content.decode(), draw, labels=suffix == ".txt")
    return {".json": in_json, ".h5": in_hdf5, ".zip": in_zip}.get(suffix, in_bytes)(content, draw)


def in_bytes(data: bytes, draw: random.Random) -> bytes:
    """Return data with one to sixteen changes, most of them near its start, where headers are."""
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        place = int(len(data) * draw.random() ** draw.choice((1, 1, 3)))
        piece = data[place:][: draw.choice((1, 2, 4, 16, 256, 4096))]
        size = draw.choice((1, 2, 4))
        number = (draw.choice(NUMBERS) & (1 << 8 * size) - 1).to_bytes(size, draw.choice(("big", "little")))
        flipped = bytes(byte ^ 1 << draw.randrange(8) for byte in piece[:1]) + piece[1:]
        noise, zeros = draw.randbytes(len(piece)), bytes(len(piece))
        changed = draw.choice((flipped, number + piece[size:], number + piece[size:], b"", piece * 2, noise, zeros))
        data = data[:place] + changed + (data[place + len(piece) :] if draw.random() < 0.93 else b"")
    return data


def in_text(text: str, draw: random.Random, labels: bool = False) -> bytes:
    """Return a table as bytes, as people, spreadsheets and accidents change one; labels: those of a split's images."""
    if labels and draw.random() < 0.5:
        lines = [f"img{number}.png {line}" for number, line in enumerate(text.splitlines(), 1)]
        text = "\n".join(draw.choice((lines, ["name JND1 JND2 JND3", *lines]))).replace(" ", draw.choice(" ,;\t"))
    for _ in range(draw.choice((1, 1, 2, 4))):
        lines = text.split("\n")
        number = draw.randrange(len(lines))
        line = lines[number]
        separator, other = next((one for one in ",;\t " if one in line), ","), draw.choice(",;\t| ")
        fields, word = line.split(separator), draw.choice(WORDS)
        place = draw.randrange(len(fields))
        before, after = fields[:place], fields[place + 1 :]
        marked = ("# " + line, line + " # note", line + separator, f" {line} ", line + "\r")
        kinds = [
            [line] * 2,
            [],
            [separator.join([*before, word, *after])],
            [separator.join([*before, word, *fields[place:]])],
            [separator.join([*before, *after])],
            [separator.join(f'"{field}"' for field in fields)],
            [draw.choice(marked)],
            [line[: draw.randrange(len(line) + 1)]],
            [line + word * draw.choice((1, 500))],
            [line],
        ]
        lines[number : number + 1] = draw.choice(kinds)
        if draw.random() < 0.1:
            draw.shuffle(lines)
        if draw.random() < 0.1:
            lines = [one.replace(separator, other) for one in lines]
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
        groups = [name for name, item in file.items() if isinstance(item, h5py.Group)]
        arrays = []
        file.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
        name, array = draw.choice(groups), draw.choice(arrays)
        values = np.asarray(file[array])
        values = [values.T, values[..., None], values.astype("f8") * np.inf, values.astype("c8"), values.astype("i4"),
                  np.void(b"x"), "text", np.zeros((0, 3)), values.astype("f8") * 1e300, h5py.Empty("f4")]  # fmt: skip
        values += [h5py.SoftLink("/" + array), h5py.SoftLink("/no"), h5py.ExternalLink("x.h5", "/")]
        lists = [[], [b"x"], [b"\xff"], 3, b"layer", np.zeros((2, 2)), [name.encode()] * 99, h5py.Empty("S1"),
                 ["é" * 9]]  # fmt: skip
        change = draw.randrange(7)
        if change == 0:
            del file[name]
        elif change == 1:
            file.attrs["layer_names"] = draw.choice(lists)
        elif change == 2:
            file[name].attrs["weight_names"] = draw.choice(lists)
        elif change == 3:
            place = draw.choice((file, file[name]))
            for key in draw.sample(list(place.attrs), len(place.attrs) and 1):
                del place.attrs[key]
        else:
            del file[array]
        if change == 4:
            file[array] = draw.choice(values)
        elif change == 5:
            shape, chunks = draw.choice([((2**40,), (1,)), ((2**20, 2**20), (2**10, 2**10)), ((3, 3), (3, 3))])
            file.create_dataset(array, shape, "f4", chunks=chunks, compression=draw.choice((None, "gzip", "lzf")))
        elif change == 6 and draw.random() < 0.5:  # else it is missing
            file.create_group(array)
    return buffer.getvalue()


def in_zip(data: bytes, draw: random.Random) -> bytes:
    """Return a zip with odd members, or other bytes."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if draw.random() < 0.6:
        name = draw.choice(list(members))
        odd = ["../x.h5", "/x.h5", "a\\x.h5", "x.h5/y.h5", name.upper(), "C:x.h5", "x\n.h5", "é" * 200 + ".h5", "", "/",
               "README", "a/../b.h5", "con.h5", ".", "x" * 300 + ".h5", "../README", "\u202egnp.h5"]  # fmt: skip
        members[draw.choice(odd)] = draw.choice((members[name], b"", bytes(1 << 22), b"x" * 99))
        if draw.random() < 0.3:
            del members[name]
    modes = (0, 0o100644) if draw.random() < 0.7 else (0, 0o100644, 0o120777, 0o040755, 0o020666)
    infos = {}
    for name, content in members.items():
        info = zipfile.ZipInfo(name or "x")
        info.filename, info.external_attr = name, draw.choice(modes) << 16
        info.compress_type = draw.choice((0, 8, 12, 14))
        infos[info] = content
    data = zipped(infos)
    return in_bytes(data, draw) if draw.random() < 0.6 else data
