"""`SCRIPT.py test`: predict the levels of a rootdir's test pictures, write them, and say how far off they are."""

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from common import batches, dataset, metrics, weights
from common.errors import UserError
from common.files import whole_file
from common.training import build_backbones, read_splits


def test(variant, options):
    """Write the result CSV of `variant` and print its error where the test pictures have labels."""
    how = {"labels": "optional", "scale": options.label_unit}
    split = read_splits(options.data_dir, ("test",), decode=False, **how)["test"]
    level = options.level
    file = weights.find(options.model_weights_path, variant.weight_names(level), f"{variant.name} JND{level}")
    model = variant.build(*build_backbones(variant, level, options.backbone_path))
    weights.load(model, file)

    levels = []
    with tqdm(total=len(split.pictures), unit="picture", desc=f"{variant.name} JND{level}", disable=None) as bar:
        try:
            for batch in batches.predict(model, variant.input, split.pictures, options.batch_size):
                levels.extend(batch[:, 0])
                bar.update(len(batch))
        except UserError:
            # One picture is bad: before giving up, look at all of them, so that all can be mended at once.
            dataset.read_splits(options.data_dir, ("test",), **how)
            raise

    column = f"JND{level}"
    table = pd.DataFrame({"image": [path.name for path in split.pictures], column: levels})
    if split.levels is not None:
        table[f"{column}_label"] = split.levels[:, level - 1]
    result = result_file(options.result_path, f"{column}test_results.csv")
    with whole_file(result) as temporary:
        table.to_csv(temporary, index=False)
    print(f"{len(table)} pictures of {split.folder}, weights {file}")
    if split.levels is not None:
        report(table, column, options)
    print(f"results: {result}")
    return 0


def report(table, column, options):
    """Print the mean absolute error of a column beside that of always answering the training median."""
    unit, labels = options.label_unit, table[f"{column}_label"]
    error = metrics.qp_mae(table[column], labels)
    try:
        train, _ = dataset.read_splits(options.data_dir, ("train",), scale=unit, decode=False)
        floor = metrics.median_floor(train["train"].levels[:, int(column[-1]) - 1], labels)
        beside = f"; always answering the training median gives {floor:.2f} {unit}"
    except UserError as missing:
        beside = f" (no training median to compare with: {missing})"
    print(f"{column}: mean absolute error {error:.2f} {unit}{beside}")


def result_file(path, name):
    """`path` itself where it names a CSV file, else the file `name` in the folder `path`."""
    path = Path(path)
    return path if path.suffix == ".csv" else path / name
