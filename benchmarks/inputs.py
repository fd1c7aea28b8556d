"""What the benchmarks run on: photographs, the set of the released programs' figures, the golden tests' weights."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.matrix import in_new_process
from common import demo
from common.data.dataset import list_images
from common.data.labels import write_labels
from common.media.images import read_image, write_png
from common.models import weight_files
from common.models.backbones import build_network
from common.models.registry import ModelSpec, get_model
from tests.golden import seeded

SIZE = (1920, 1080)
COUNTS = {"train": 16, "valid": 8, "test": 32}


def photographs(folder: Path | None, default: Path) -> list[Path]:
    """Return the images in `folder`; without one, those of the demonstration, copied to `default`."""
    if folder is None:
        demo.collect(default)
    return list_images(folder or default)


def make_rootdir(sources: list[Path], root: Path) -> None:
    """Fill ROOT/train, valid and test with 1920x1080 PNGs cut from photographs."""
    images = [Image.fromarray(read_image(path)) for path in sources]
    for split, count in COUNTS.items():
        names = [f"img{number}.png" for number in range(count)]
        for number, name in enumerate(names):
            centre = ((number % 5 + 1) / 6, (number % 3 + 1) / 4)
            frame = ImageOps.fit(images[number % len(images)], SIZE, Image.Resampling.BICUBIC, centering=centre)
            write_png(root / split / name, np.asarray(frame))
        write_labels(root / split, names, [(25, 30, 34)] * count)


def write_weights(spec: ModelSpec, file: Path) -> None:
    """Write the golden tests' weights of a model, or random ones of a model that these tests do not know."""
    if name := golden_name(spec):
        seeded.write_h5(name, file)
    else:
        in_new_process(_write_random_weights, spec.name, file)


def golden_name(spec: ModelSpec) -> str | None:
    """The name of a model in tests/golden; None for one that is not there."""
    name = spec.name.replace("-", "").replace("MT_3LJND_VA", "MT_3LJND")
    return name if name in seeded.LAYOUTS else None


def _write_random_weights(name: str, file: Path) -> None:
    weight_files.save(build_network(get_model(name)), file)


def write_autoencoders(folder: Path) -> None:
    """Write the golden tests' autoencoder as all four."""
    for target in ("Img", "JND1", "JND2", "JND3"):
        seeded.write_h5("Reconstruction", folder / f"{target}Reconstruction.h5")
