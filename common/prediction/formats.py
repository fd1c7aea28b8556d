"""The formats of other runtimes, that `export` can write; `common.prediction.converters` writes them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A format.

    Args:
        suffix: Of the files' names.
        needs: Modules that writing it needs besides those of requirements.txt, and what installs each.
        runs_on: Modules that run it, likewise.
        companion: Suffix of a second file that belongs to the first.
        batch: Images at once; None for any number.
        float16: Whether weights can be stored in half the bytes.
    """

    suffix: str
    needs: tuple[tuple[str, str], ...] = ()
    runs_on: tuple[tuple[str, str], ...] = ()
    companion: str = ""
    batch: int | None = None
    float16: bool = True


INPUT = "picture"
"""The input's name in all files, which programs of others use."""

OPENVINO = (("openvino", "openvino==2026.4.1"),)

FORMATS = {
    "onnx": Format(
        ".onnx",
        needs=(("onnx", "onnx==1.23.2"), ("tf2onnx", "tf2onnx==1.17.0")),
        runs_on=(("onnxruntime", "onnxruntime==1.31.1"),),
    ),
    "openvino": Format(".xml", needs=OPENVINO, runs_on=OPENVINO, companion=".bin"),
    # One image: of unknown number, REC takes 1.4 times as long, and no GPU or NPU delegate takes it at all.
    "litert": Format(".tflite", batch=1),
    "savedmodel": Format(".savedmodel", float16=False),
}
