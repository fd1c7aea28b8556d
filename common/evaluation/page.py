"""The page of an evaluation: index.html, which shows the plots and images beside it and loads nothing else.

An image loads when a reader comes near it, so that a page of 1,000 images opens at once.
"""

from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from common.core.files import atomic_write, write_text
from common.core.parallel import parallel_map
from common.encoding.image_cache import EncodedImageCache
from common.evaluation import report
from common.evaluation.report import Evaluation
from common.media.images import read_image

WIDEST, HIGHEST = 640, 360  # pixels; of larger images the page shows the middle, because scaling would hide the damage
# Of WebP, which takes half of JPEG's bytes and which every browser since 2020 shows.  Frames coded at QP 26 are 37.5 dB
# from their photograph, and the page's copies are 46.2 dB from these frames; WebP halves the resolution of the colours,
# as H.264 has done before.
RAW_QUALITY, CODED_QUALITY = 100, 94


def write(evaluation: Evaluation, predictions: pd.DataFrame, encoded_images: EncodedImageCache) -> None:
    """Write index.html into the output folder, and copies of the images for it into their folders of the cache.

    Args:
        predictions: See `common.evaluation.comparison.compare`.
        encoded_images: A folder in the output folder.  Must hold each image at the true and the predicted QPs.
    """
    config, data = evaluation.config, evaluation.data
    videoset = report.videoset_results(data)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # and keep the order of the models
    text = environment.get_template("page.html").render(
        title=f"JND levels predicted on {data.name}",
        about=report.about(evaluation),
        verdicts=report.verdicts(evaluation.results),
        tables=evaluation.tables,
        cost_notes=evaluation.cost_notes,
        legend=report.legend(config.psnr),
        videoset_tables=[] if videoset is None else report.tables(videoset),
        videoset_commands=report.VIDEOSET_COMMANDS,
        images=_images(predictions, data.split.images, encoded_images, config.images, config.jobs),
        total=len(data.split.images),
        noun=data.noun,
        plots=evaluation.plots,
    )
    write_text(config.output / "index.html", text)


def choose(predictions: pd.DataFrame, count: int) -> list[str]:
    """Return the names of up to `count` images: half have the largest mean errors, the others are spread evenly."""
    mean = (predictions["predicted"] - predictions["true"]).abs().groupby(predictions["image"]).mean()
    names = list(mean.sort_values(ascending=False, kind="stable").index)
    worst = (min(count, len(names)) + 1) // 2
    rest = np.linspace(worst, len(names) - 1, min(count, len(names)) - worst).astype(int)
    return names[:worst] + [names[index] for index in rest]


def _images(predictions, paths, encoded_images, count, jobs):
    """What the page shows of each image, for its script."""
    path_of = {path.name: path for path in paths}
    rows_of = {path_of[name]: predictions[predictions["image"] == name] for name in choose(predictions, count)}
    qps_of = {path: sorted({*rows["coded QP"], *rows["true QP"]}) for path, rows in rows_of.items()}
    measured = encoded_images.measure(qps_of, jobs)
    sizes = parallel_map(lambda item: _copy(*item, encoded_images), qps_of.items(), jobs, "image")
    images = []
    for (path, rows), size in zip(rows_of.items(), sizes):
        levels = {}
        for row in rows.to_dict("records"):
            level = levels.setdefault(f"JND{row['level']}", {"label": row["true"], "qp": row["true QP"], "models": {}})
            level["models"][row["model"]] = [round(row["predicted"], 2), row["coded QP"], round(row["PSNR"], 2)]
        bytes_at = {int(qp): values["bytes"] for qp, values in measured[path][0].items()}
        folder = encoded_images.folder_of(path).relative_to(encoded_images.folder.parent).as_posix()
        images.append({"name": path.name, "size": size, "folder": folder, "bytes": bytes_at, "levels": levels})
    return images


def _copy(path, qps, encoded_images):
    """Write WebP copies of an image, as it is and coded at `qps`, into its folder; return their width and height.

    A copy that is there is kept: the name of the folder is a digest of the image and of the encoder's settings.
    """
    folder = encoded_images.folder_of(path)
    for name, quality in {"raw": RAW_QUALITY, **dict.fromkeys(qps, CODED_QUALITY)}.items():
        file = folder / f"{name}.webp"
        if not file.is_file():
            pixels = read_image(path) if name == "raw" else encoded_images.decode(path, name)
            top, left = (max(0, (have - most) // 2) for have, most in zip(pixels.shape, (HIGHEST, WIDEST)))
            pixels = np.ascontiguousarray(pixels[top : top + HIGHEST, left : left + WIDEST])
            with atomic_write(file) as temporary:
                Image.fromarray(pixels).save(temporary, "WEBP", quality=quality, use_sharp_yuv=True)
    with Image.open(folder / "raw.webp") as image:
        return image.size
