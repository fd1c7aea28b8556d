"""Networks as `export` writes them: the formats, and what a file says of itself.

Nothing here needs Keras, TensorFlow, or the package that made a file; `common.prediction.runtimes` runs it.
"""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

from common.core.errors import UserError
from common.models.registry import ModelSpec


@dataclass(frozen=True)
class Format:
    """A format.

    Args:
        suffix: Of the files' names.
        needs: Modules that writing it needs besides those of requirements.txt, and what installs each.
        runs_on: The module that runs it without TensorFlow, likewise; None where there is none.
        companion: Suffix of a second file that belongs to the first.
        batch: Images at once; None for any number.
        float16: Whether weights can be stored in half the bytes.
    """

    suffix: str
    needs: tuple[tuple[str, str], ...] = ()
    runs_on: tuple[str, str] | None = None
    companion: str = ""
    batch: int | None = None
    float16: bool = True


INPUT = "picture"
"""The input's name in all files, which programs of others use."""

INTERFACE = 1
"""The number of what goes in and comes out: uint8 RGB of the network's size, and {level: float32 QP (B, 1)}."""

OPENVINO = ("openvino", "openvino==2026.4.1")

FORMATS = {
    "onnx": Format(
        ".onnx",
        needs=(("onnx", "onnx==1.23.2"), ("tf2onnx", "tf2onnx==1.17.0")),
        runs_on=("onnxruntime", "onnxruntime==1.31.1"),
    ),
    "openvino": Format(".xml", needs=(OPENVINO,), runs_on=OPENVINO, companion=".bin"),
    # One image: of unknown number, REC takes 1.4 times as long, and no GPU or NPU delegate takes it at all.
    "litert": Format(".tflite", runs_on=("ai_edge_litert", "ai-edge-litert==2.3.0"), batch=1),
    "savedmodel": Format(".savedmodel", float16=False),
}

RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino"}
"""{value of --backend: the format that it runs}, where weights are exported first."""


def format_of(file: str | Path) -> str | None:
    """Return the format of an exported file that runs without TensorFlow, by its suffix; None for any other file."""
    suffix = Path(file).suffix.lower()
    return next((name for name, form in FORMATS.items() if form.runs_on and form.suffix == suffix), None)


def missing_packages(*needs: tuple[str, str] | None) -> str:
    """Return what `pip install` needs for the modules, as in `Format.needs`, that are not here; "" where all are."""
    return " ".join(need[1] for need in needs if need and not find_spec(need[0]))


def companion_of(file: Path) -> Path:
    """Return the second file that belongs to an exported one, else the file itself."""
    form = FORMATS.get(format_of(file) or "")
    return file.with_suffix(form and form.companion or file.suffix)


def describe(file: Path) -> dict[str, Any]:
    """Return what `export` wrote into a file, as in the JSON file beside it.

    Raises UserError where the file is damaged, or was not made by `export`, or by a version with another interface.
    """
    format_name = str(format_of(file))
    try:
        description = _READERS[format_name](file)
        shape = tuple(description["input"]["shape"][1:])
        described = {**description, "format": format_name, "shape": shape}
        levels, digest = tuple(described["outputs"]), described["weights"]["sha256"]
        if not (levels and isinstance(described["model"], str) and isinstance(digest, str)):
            raise ValueError
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None
    except EOFError:
        raise UserError(f"{file}: damaged or cut off; export or copy it again") from None
    except (LookupError, TypeError, ValueError, SyntaxError, zipfile.BadZipFile):
        raise UserError(
            f"{file}: does not say which model it is; expected a file that `python3 LAT.py export` or another model's "
            "wrote"
        ) from None
    if described.get("interface", INTERFACE) != INTERFACE:
        raise UserError(f"{file}: made by another version of this project (interface {described['interface']})")
    return described


def check(file: Path, spec: ModelSpec, level: str | None) -> None:
    """Raise UserError where an exported file is not that of a model, for a level or, with None, for all at once."""
    described, levels = describe(file), tuple(spec.levels(level).values())
    if (described["model"], tuple(described["outputs"])) != (spec.name, levels):
        holds = f"{described['model']}, {', '.join(described['outputs'])}"
        raise UserError(f"{file}: exported from {holds}; expected {spec.name}, {', '.join(levels)}")
    if described["shape"] != spec.input.shape:
        sizes = ["{1}x{0}".format(*shape) for shape in (described["shape"], spec.input.shape)]
        raise UserError(f"{file}: for images of {sizes[0]}, expected {sizes[1]}; --input_size H W gives another size")
    if not companion_of(file).is_file():
        raise UserError(f"{companion_of(file)}: no such file; {file.name} needs it beside it")


def _read_onnx(file):
    """The metadata properties of an ONNX file, a protobuf message; the network itself is passed over."""
    texts, size = {}, file.stat().st_size
    with open(file, "rb") as stream:
        while stream.tell() < size:
            tag = _varint(stream)
            if tag & 7 == 0:
                _varint(stream)
                continue
            if tag & 7 != 2:
                raise ValueError
            length = _varint(stream)
            end = stream.tell() + length
            if end > size:
                raise EOFError
            if tag >> 3 == 14:  # metadata_props, of which each has a key, field 1, and a value, field 2
                pair = []
                while stream.tell() < end:
                    _varint(stream)
                    pair.append(stream.read(_varint(stream)).decode())
                texts[pair[0]] = pair[1]
            stream.seek(end)
    return _parse(texts)


def _varint(stream: BinaryIO) -> int:
    """Read a protobuf number: seven bits a byte, the lowest first, of ten bytes at most."""
    number = shift = 0
    while byte := stream.read(1):
        if shift > 63:
            raise ValueError
        number |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return number
        shift += 7
    raise EOFError


def _read_openvino(file):
    """The run-time information of an OpenVINO model."""
    return _parse({item.tag: item.get("value", "") for item in ElementTree.parse(file).iterfind("rt_info/jnd/*")})


def _read_litert(file):
    """What the ZIP archive that is appended to a LiteRT file holds."""
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.read("description.json"))


def _parse(texts):
    return {key: json.loads(text) if text[:1] in ("{", "[") or text.isdigit() else text for key, text in texts.items()}


_READERS: dict[str, Callable[[Path], dict]] = {
    "onnx": _read_onnx,
    "openvino": _read_openvino,
    "litert": _read_litert,
}
