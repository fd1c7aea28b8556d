"""The page of an evaluation: one HTML file that holds everything it shows and fetches nothing."""

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from common.core.files import write_text
from common.encoding.image_cache import EncodedImageCache
from common.evaluation import report
from common.evaluation.report import Evaluation
from common.media.images import read_image

WIDEST, HIGHEST = 640, 360  # pixels; of larger images the page shows the middle, because scaling would hide the damage
# Of WebP, which takes half of JPEG's bytes and which every browser since 2020 shows.  Frames coded at QP 26 are 37.5 dB
# from their photograph, and the page's copies are 46.2 dB from these frames; WebP halves the resolution of the colours,
# as H.264 has done before.
RAW_QUALITY, CODED_QUALITY = 100, 94
PLOT_QUALITY = 90


def write(evaluation: Evaluation, predictions: pd.DataFrame, encoded_images: EncodedImageCache) -> None:
    """Write index.html into the output folder.

    Args:
        predictions: See `common.evaluation.comparison.compare`.
        encoded_images: Must hold each image at the predicted QPs.
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
    environment.policies["json.dumps_kwargs"] = {}  # keep the order of the models
    text = environment.get_template("page.html").render(
        title=f"JND levels predicted on {data.name}",
        about=" ".join(report.about(data, evaluation.results.iloc[0])),
        tables=evaluation.tables,
        cost_notes=evaluation.cost_notes,
        legend=report.legend(config.psnr),
        videoset_tables=[] if videoset is None else report.tables(videoset),
        videoset_commands=report.VIDEOSET_COMMANDS,
        images=_images(predictions, data.split.images, encoded_images, config.images),
        noun=data.noun,
        plots=[(title, _webp(read_image(file), PLOT_QUALITY)) for title, file in evaluation.plots],
    )
    write_text(config.output / "index.html", text)


def _images(predictions, paths, encoded_images, count):
    """What the page shows of up to `count` images, evenly from the smallest to the largest mean error."""
    mean = (predictions["predicted"] - predictions["true"]).abs().groupby(predictions["image"]).mean()
    mean = mean.sort_values(kind="stable")
    chosen = mean.index[np.unique(np.linspace(0, len(mean) - 1, min(count, len(mean))).astype(int))]
    path_of = {path.name: path for path in paths}
    images = []
    for name in chosen:
        rows, path = predictions[predictions["image"] == name], path_of[name]
        raw = read_image(path)
        images.append(
            {
                "name": name,
                "size": [min(raw.shape[1], WIDEST), min(raw.shape[0], HIGHEST)],
                "raw": _webp(_middle(raw), RAW_QUALITY),
                "coded": {
                    int(qp): _webp(_middle(encoded_images.decode(path, qp)), CODED_QUALITY)
                    for qp in sorted(set(rows["coded QP"]))  # models that give the same QP share a frame
                },
                "rows": {
                    f"{row['model']} JND{row['level']}": {
                        "true": round(row["true"], 2),
                        "predicted": round(row["predicted"], 2),
                        "qp": row["coded QP"],
                        "db": round(row["PSNR"], 2),
                    }
                    for row in rows.to_dict("records")
                },
            }
        )
    return images


def _middle(pixels):
    top, left = (max(0, (have - most) // 2) for have, most in zip(pixels.shape, (HIGHEST, WIDEST)))
    return pixels[top : top + HIGHEST, left : left + WIDEST]


def _webp(pixels, quality):
    """Pixels, uint8 (H, W, 3), as a data URI."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "WEBP", quality=quality, method=6, use_sharp_yuv=True)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
