"""The papers' tables from one command:

    python3 -m common.evaluate --data_dir ROOT/ --weights pretrained/ --output results/

Runs `test` of every model whose weight files lie in or below --weights on ROOT/test, codes each picture at the
predicted and at the true levels, and writes into --output:

    results.csv results.md   errors a model and level, with 95 % intervals, beside the papers' own numbers
    index.html               the same as a page: tables that sort, plots, pictures to compare
    *.png                    the plots
    complexity.csv           what each model costs: shown where benchmarks.complexity wrote it, or with --complexity
    pictures.csv             every prediction, and what coding at it gives
    README.md                what was run on which data, by which commands
    predictions/ coded/      what `test` wrote, and the coded pictures: kept, and made anew only where something changed

ROOT/train gives the median that a model must beat.  Weight files are known by their shapes, levels by JND1, JND2 or
JND3 in the name; MT_3LJND_VA's by VA in the name or in a folder's, its shapes being MT_3LJND's.
"""

import sys
import time
from pathlib import Path

from common.core import threads
from common.core.environment import PRETRAINED
from common.core.errors import UserError
from common.core.files import write_csv
from common.evaluation.comparison import compare, read_data


def main(arguments=None):
    """Run the command line; returns the exit code: 1 where a weight file had to be left out."""
    from common.cli import flags, program

    parser = program.Parser(prog="python3 -m common.evaluate", description=__doc__)
    parser.add_argument("--data_dir", required=True, metavar="ROOT", help="the rootdir; test/ needs labels in QP")
    parser.add_argument("--weights", default=PRETRAINED, metavar="W", help="the folder of weight files")
    parser.add_argument("--output", required=True, metavar="O", help="the folder for the results of this dataset")
    parser.add_argument("--psnr", choices=("luma", "rgb"), default="luma", help="of what PSNR is taken")
    parser.add_argument(
        "--sheets",
        metavar="S",
        help="VideoSet's label sheets: their samples give satisfied subjects (those of MCL-JCI are in the manifest)",
    )
    parser.add_argument("--pictures", type=flags.positive(int), default=12, help="how many the page shows")
    parser.add_argument(
        "--complexity",
        action="store_true",
        help="measure what each model costs, where complexity.csv in --output does not say it yet",
    )
    parser.add_argument("--jobs", type=flags.positive(int), default=threads.CORES, help="pictures coded at a time")
    options = parser.parse_args(arguments)

    from common.core.files import check_writable
    from common.encoding.coded_images import EncodedImages
    from common.evaluation import page, plots, provenance, report, trials

    started, output = time.monotonic(), Path(options.output)
    check_writable(output / "results.csv")
    runs, left_out = trials.find_runs(Path(options.weights), Path(options.data_dir), output / "predictions")
    data = read_data(Path(options.data_dir), options.sheets)
    failed = [(run, why) for run in runs if (why := trials.bring(run, data.split))]
    left_out += [f"{run.name}: {why}" for run, why in failed]
    good = [run for run in runs if run not in [run for run, _ in failed]]
    if not good:
        raise UserError(f"{options.weights}: none of the weight files could be used; first, {left_out[0]}")
    coded = EncodedImages(output / "coded")
    table = compare(data, good, coded, options)
    write_csv(table, output / "pictures.csv")
    results = report.results(table, data)
    drawn = plots.draw(table, data, coded, output)
    models = list(dict.fromkeys(run.model for run in good))
    costs = trials.costs(models, output / "complexity.csv", options.complexity)
    tables = report.tables(results) + report.complexity_tables(costs)
    report.write(results, tables, data, drawn, costs, options)
    page.write(results, tables, table, data, drawn, coded, costs, options, output / "index.html")
    minutes = (time.monotonic() - started) / 60
    command = ["python3", "-m", "common.evaluate", *(sys.argv[1:] if arguments is None else arguments)]
    provenance.write(results, data, good, left_out, costs, options, command, minutes, output / "README.md")
    print(report.as_text(results))
    for line in left_out:
        print(f"left out: {line}")
    print(f"{output / 'results.csv'}, results.md, index.html; {minutes:.1f} min")
    return 1 if left_out else 0


if __name__ == "__main__":
    from common.cli import program

    program.run(main)
