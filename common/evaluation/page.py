"""The page of `python3 -m common.evaluate`: one HTML file with everything in it, which fetches nothing."""

import base64
import html
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from common.core.files import atomic_write
from common.evaluation import report
from common.media.images import read_image

WIDEST, HIGHEST = 640, 360  # pixels; of larger pictures the middle is shown, because scaling would hide the damage
# Of WebP, in which every browser since 2020 takes half of JPEG's bytes.  Frames coded at QP 26 are 37.5 dB from their
# photograph, and here 46.2 dB from themselves; what WebP halves, the colours' resolution, H.264 has halved before.
RAW_QUALITY, CODED_QUALITY = 100, 94
PLOT_QUALITY = 90
TEMPLATE = Path(__file__).with_name("page.html")


def write(rows, tables, table, data, drawn, coded, costs, options, target):
    """Write the page.  rows and tables: of `common.evaluation.report`; table: of `common.evaluation.comparison.compare`; costs:
    of `common.evaluation.trials.costs`.
    """
    parts = {
        "title": html.escape(f"JND levels predicted on {data.name}"),
        "about": html.escape(" ".join(report.about(data, rows))),
        "tables": "\n".join(_table(*one) for one in tables),
        "costs": "\n".join(f"<p>{_with_code(line)}</p>" for line in report.about_costs(costs, rows, options)),
        "not run": _not_run(report.not_run(data)),
        "legend": "\n".join(f"<li>{html.escape(line)}</li>" for line in report.legend(options.psnr)),
        "plots": "\n".join(
            f'<figure><img alt="{html.escape(title)}" src="{_webp(read_image(file), PLOT_QUALITY)}"></figure>'
            for title, file in drawn
        ),
        "pictures": json.dumps(_pictures(table, data, coded, options.pictures)).replace("</", "<\\/"),
        "label": "pseudo-label" if data.pseudo else "label",
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part)
    with atomic_write(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _table(title, headings, cells):
    head = "".join(f'<th scope="col"><button>{html.escape(heading)}</button></th>' for heading in headings)
    body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in cells)
    return (
        f"<h2>{html.escape(title)}</h2>\n"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    )


def _with_code(line):
    """A line of Markdown as HTML."""
    parts = html.escape(line).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _cell(text):
    number, bracket, interval = html.escape(text).partition(" (")
    return f"<td>{number}{f' <small>({interval}</small>' if bracket else ''}</td>"


def _not_run(rows):
    if rows is None:
        return ""
    commands, made = html.escape("\n".join(report.FILL)), "\n".join(_table(*one) for one in report.tables(rows))
    return f"<details><summary>VideoSet: not run</summary>\n<pre>{commands}</pre>\n{made}\n</details>"


def _pictures(table, data, coded, count):
    """Pictures from the smallest to the largest mean error, evenly: raw and coded, with their predictions."""
    mean = (table["predicted"] - table["true"]).abs().groupby(table["image"]).mean().sort_values(kind="stable")
    chosen = mean.index[np.unique(np.linspace(0, len(mean) - 1, min(count, len(mean))).astype(int))]
    paths = {path.name: path for path in data.split.images}
    shown = []
    for name in chosen:
        rows, path = table[table["image"] == name], paths[name]
        raw = read_image(path)
        shown.append(
            {
                "name": name,
                "size": [min(raw.shape[1], WIDEST), min(raw.shape[0], HIGHEST)],
                "raw": _webp(_middle(raw), RAW_QUALITY),
                "coded": {
                    int(qp): _webp(_middle(coded.decode(path, qp)), CODED_QUALITY)
                    for qp in sorted(set(rows["coded QP"]))  # where models agree, they share a frame
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
    return shown


def _middle(pixels):
    top, left = (max(0, (have - most) // 2) for have, most in zip(pixels.shape, (HIGHEST, WIDEST)))
    return pixels[top : top + HIGHEST, left : left + WIDEST]


def _webp(pixels, quality):
    """Pixels, uint8 (H, W, 3), as a URI that holds them."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "WEBP", quality=quality, method=6, use_sharp_yuv=True)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
