"""`python3 LAT.py export ...`: a trained network as a file that runs without this project, in another runtime."""

import contextlib
import json
import os
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from common.core.errors import UserError
from common.core.files import atomic_group, check_writable, sha256
from common.core.keras_backend import load_keras, silent_stderr
from common.media import images
from common.models import weight_files
from common.prediction.formats import FORMATS, INPUT, Served

ORDINALS = {1: "first", 2: "second", 3: "third"}


def export(variant, options):
    """Write the network that predicts, try it out where its runtime is there, say what it takes and gives."""
    form = FORMATS[options.format]
    half = options.precision == "float16"
    if half and not form.halves:
        raise UserError(f"--precision float16: not for {options.format}, whose runtime would compute with it")
    if missing := _missing(form.needs):
        raise UserError(f"--format {options.format} needs more than requirements.txt: pip install {missing}")
    file = weight_files.find(options.model_weights_path, variant.weight_names(options.level), variant.name)
    target = _target(variant, options, form)
    parts = [target, description_of(target), *([target.with_suffix(form.beside)] if form.beside else [])]
    _check_parts(parts, options.overwrite)

    # Nothing here is worth a GPU, whose float32 convolutions have 10 bits.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    load_keras(training=True)
    from common.models.inference import load_network

    outputs = variant.levels(options.level)
    network = load_network(variant, file, outputs, winograd=False)
    served = Served(network, variant.input, list(outputs.values()), form.batch)
    description = describe(variant, options, served.shape, file)
    with atomic_group(target) as folder, silent_stderr(), _full_disk(target):
        form.write(served, folder / target.name, description, half)
        (folder / description_of(target).name).write_text(json.dumps(description, indent=2) + "\n")
        untried = _missing(form.runs_on)
        tried = f"not tried out, for want of {untried}"
        if not untried:
            difference = try_out(form.run(folder / target.name), network, variant.input, 2e-3 if half else 1e-4)
            tried = f"its levels are Keras's within {difference:.1g} QP"
    size = sum(part.stat().st_size for path in (parts[0], *parts[2:]) for part in (path, *path.rglob("*")))
    print(f"{target}: {size / 1e6:.1f} MB, weights {file}; {tried}")
    print(f"what goes in and comes out: {description_of(target)}; how to run it: docs/export.md")
    return 0


def description_of(target):
    """The JSON file beside an exported one."""
    return target.with_name(f"{target.name}.json")


def describe(variant, options, shape, file):
    """What a stranger to this project must know of an exported file, for JSON."""
    batch, height, width, _ = shape
    form, outputs = FORMATS[options.format], variant.levels(options.level)
    packages = ["tensorflow", "keras", *(name.split("==")[0] for _, name in form.needs)]
    return {
        "model": variant.name,
        "format": options.format,
        "precision": options.precision,
        "input": {
            "name": INPUT,
            "shape": [batch or "batch", height, width, 3],
            "dtype": "uint8",
            "values": "R, G, B, 0 to 255; what the network wants else, colour order and scale, is changed inside",
            "resize": f"the whole picture, upright, stretched to {width}x{height} as OpenCV's resize with INTER_LINEAR "
            "does: pixel centres at halves, two neighbours a direction, no antialiasing, rounded to uint8",
        },
        "outputs": {
            level: f"float32 ({batch or 'batch'}, 1): the QP, 0 and above, not rounded, of the "
            f"{ORDINALS[int(level[-1])]} just noticeable difference; where the training's labels were JPEG quality factors, "
            "a quality factor"
            for level in outputs.values()
        },
        "weights": {"file": file.name, "sha256": sha256(file)},
        "versions": {package: version(package) for package in packages},
    }


def _missing(needs):
    """What must be installed for the modules that are not there, for `pip install`."""
    return " ".join(name for module, name in needs if find_spec(module) is None)


def _target(variant, options, form):
    """The file or SavedModel folder that `--output` names, itself or by the folder that it is to lie in."""
    path = Path(options.output)
    if path.suffix == form.suffix:
        return path
    if path.suffix and not path.is_dir():
        raise UserError(f"{path}: expected a name that ends in {form.suffix} for {options.format}, or a folder")
    return path / Path(variant.weights.format(jnd=options.level)).with_suffix(form.suffix).name


def _check_parts(parts, overwrite):
    """Raise UserError where one of the files is there and may not be replaced, or cannot be written."""
    taken = next((part for part in parts if part.exists()), None)
    if taken and not overwrite:
        raise UserError(f"{taken}: exists; give another name, or --overwrite to replace it")
    for part in parts:
        if not (part.suffix == ".savedmodel" and (part / "saved_model.pb").is_file()):
            check_writable(part)


def try_out(run, network, input_format, tolerance):
    """The largest difference in QP of what an exported file answers from `network`, on a photograph.

    run: the file as a function, as common.prediction.formats.Format.run makes it.  Raises UserError where the levels differ by
    more than `tolerance`, relative to the level, or to 1 where that is more.
    """
    import numpy as np
    from skimage import data

    picture = images.resize(data.astronaut(), input_format.width, input_format.height)
    expected = np.ravel(network.predict_on_batch(input_format.preprocess(picture)[None]))
    answers = run(picture[None])
    differences = np.abs([answers[name].item() - level for name, level in zip(sorted(answers), expected, strict=True)])
    if not (differences <= tolerance * np.maximum(expected, 1)).all():
        raise UserError(
            f"the exported file's levels are {differences.max():.2g} QP off those of Keras; it is not kept.  Are the "
            "packages' versions those that requirements.txt and docs/export.md name?"
        )
    return differences.max()


@contextlib.contextmanager
def _full_disk(target):
    """Turn what TensorFlow and OpenVINO raise on a full disk into a line for a person."""
    try:
        yield
    except Exception as error:
        if not any(word in str(error) for word in ("o space left", "iostream error")):
            raise
        raise UserError(f"{target}: cannot be written; is the disk full?") from None
