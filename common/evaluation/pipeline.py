"""A whole evaluation: test the models, encode the images, write the tables, the plots and the page.

from common.evaluation.config import EvaluationConfig
from common.evaluation.pipeline import evaluate

evaluate(EvaluationConfig(Path("ROOT"), Path("results"))).results   # a pandas table, a row per model and level
"""

import time
from collections.abc import Sequence

from common.core.errors import UserError
from common.core.files import check_writable, write_csv
from common.core.stopping import keeping
from common.encoding.image_cache import EncodedImageCache
from common.evaluation import costs, page, plots, provenance, report, trials
from common.evaluation.comparison import compare, read_data
from common.evaluation.config import EvaluationConfig
from common.evaluation.report import Evaluation


def evaluate(config: EvaluationConfig, command: Sequence[str] = ()) -> Evaluation:
    """Evaluate every model whose weights are there; write all files into `config.output` and print the first table.

    command: That which README.md gives, if there is one.  Raises UserError where data or weights cannot be used.
    """
    check_writable(config.output / "results.csv")
    with keeping(f"predictions and encoded images in {config.output}, the same command goes on with them"):
        return _evaluate(config, command)


def _evaluate(config: EvaluationConfig, command: Sequence[str]) -> Evaluation:
    started, output = time.monotonic(), config.output
    all_trials, left_out = trials.find_trials(config.weights, config.data_dir, output / "predictions")
    data, tested = read_data(config.data_dir, config.sheets), []
    for trial in all_trials:
        try:
            if not set(trial.levels) & set(data.split.levels):
                raise UserError(f"{data.split.folder} has labels of {', '.join(data.split.levels)} only")
            trials.run_trial(trial, data.split)
            tested.append(trial)
        except UserError as error:
            left_out.append(f"{trial.name}: {error}")
    if not tested:
        raise UserError(f"{config.weights}: none of the weight files could be used; first, {left_out[0]}")
    encoded_images = EncodedImageCache(output / "coded")
    predictions = compare(data, tested, encoded_images, psnr=config.psnr, jobs=config.jobs)
    write_csv(predictions, output / "pictures.csv")
    results = report.results(predictions, data)
    drawn = plots.draw(predictions, results, data, encoded_images, output)
    models, cost_file = list(dict.fromkeys(trial.model for trial in tested)), output / "complexity.csv"
    measured = costs.read_costs(models, cost_file, measure=config.complexity)
    cost_tables, cost_notes = costs.describe(models, measured, cost_file)
    tables = report.tables(results) + cost_tables
    evaluation = Evaluation(config, data, tested, left_out, results, tables, cost_notes, drawn)
    report.write(evaluation)
    page.write(evaluation, predictions, encoded_images)
    minutes = (time.monotonic() - started) / 60
    provenance.write(evaluation, command, minutes)
    print(report.as_text(tables[0]))
    for line in left_out:
        print(f"left out: {line}")
    print(f"{output / 'results.csv'}, results.md, index.html; {minutes:.1f} min")
    return evaluation
