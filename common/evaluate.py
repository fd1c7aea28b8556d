# PYTHON_ARGCOMPLETE_OK
"""The papers' tables from one command:

    python3 -m common.evaluate --data_dir ROOT/ --weights pretrained/ --output results/

Runs `test` of every model whose weight files lie in or below --weights on ROOT/test, encodes each image at the
predicted and at the true level, and writes into --output:

    results.csv results.md   errors per model and level, with 95 % intervals, and the papers' own numbers
    index.html               the same as a page: tables that sort, plots, images to compare, the largest errors first
    *.png                    the plots
    complexity.csv           what each model costs: shown if benchmarks.complexity wrote it, or with --complexity
    pictures.csv             every prediction, and what coding at it gives
    README.md                which commands ran on which data
    predictions/ coded/      what `test` wrote, and the coded images, which the page shows: kept, and made again only
                             where something changed

The median of ROOT/train is the baseline that a model must beat.  A weight file is recognised by its shapes, its level
by JND1, JND2 or JND3 in the name.  MT_3LJND_VA has the shapes of MT_3LJND: it needs VA in the name or in a folder's.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import flags, program
from common.evaluation.config import EvaluationConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 1 where a weight file had to be left out."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = program.Parser(
        ["--data_dir ROOT/ --output results/", "--data_dir ROOT/ --weights C/ --output results/ --complexity"],
        prog="python3 -m common.evaluate",
        description=__doc__,
    )
    needs, writes, computes, rare = (group.add_argument for group in flags.groups(parser))
    needs("--data_dir", type=Path, required=True, metavar="ROOT", help="the rootdir; test/ needs labels in QP")
    needs("--weights", type=Path, default=EvaluationConfig.weights, metavar="W", help="the folder of weight files")
    sheets = "VideoSet's label sheets: their samples give satisfied subjects (those of others are in the manifest)"
    needs("--sheets", type=Path, metavar="S", help=sheets)
    text = "the folder for the results of this dataset"
    writes("--output", type=Path, required=True, metavar="O", help=text)
    count, text = flags.COUNT, "how many images the page shows; of more, half have the largest errors"
    writes("--pictures", dest="images", metavar="N", type=count, default=EvaluationConfig.images, help=text)
    computes("--psnr", choices=("luma", "rgb"), default=EvaluationConfig.psnr, help="what PSNR is computed of")
    text = "measure what each model costs, unless complexity.csv in O has it"
    computes("--complexity", action="store_true", help=text)
    rare("--jobs", type=count, default=EvaluationConfig.jobs, metavar="N", help="images encoded at a time")
    config = program.config_from(EvaluationConfig, parser.parse_args(arguments))

    from common.evaluation.pipeline import evaluate

    evaluation = evaluate(config, ["python3", "-m", "common.evaluate", *arguments])
    return 1 if evaluation.left_out else 0


if __name__ == "__main__":
    program.run(main)
