"""`train` and `test` as every script runs them, whichever model it holds."""

from pathlib import Path

from common import dataset, images, weights
from common.errors import UserError
from common.files import whole_file
from common.programs import check_writable, load_keras, read_splits, refuse_to_overwrite


def train(variant, options):
    """Train `variant` on a rootdir, keep the weights of the epoch that is best on valid, say how good it is."""
    level = options.level
    checkpoint = Path(options.checkpoint_path) / variant.checkpoint_name(level)
    log = Path(options.csv_log_path) / variant.log_name(level)
    refuse_to_overwrite(checkpoint, options.overwrite)
    backbone_files = find_backbones(variant, options)
    splits = read_splits(options.data_dir, ("train", "valid"), scale=options.label_unit)
    targets = {name: split.levels[:, level - 1 : level] for name, split in splits.items()}

    load_keras()
    import keras

    from common import metrics
    from common.batches import Batches
    from common.training import fit

    keras.utils.set_random_seed(options.seed)
    model = variant.build(*build_backbones(variant, backbone_files))
    if options.output_bias == "mean":
        # A ReLU unit that starts below zero never learns.
        model.get_layer("JND_output").bias.assign(targets["train"].mean(axis=0))
    model.compile(keras.optimizers.Adam(options.learning_rate), loss="mae")
    check_writable(checkpoint.parent, log.parent)

    def batches(name, **how):
        return Batches(variant.input, splits[name].pictures, [targets[name]], options.batch_size, **how)

    best = fit(
        model,
        batches("train", shuffle_seed=options.seed),
        batches("valid"),
        checkpoint=checkpoint,
        log=log,
        epochs=options.epochs,
    )
    floor = metrics.median_floor(targets["train"][:, 0], targets["valid"][:, 0])
    print(
        f"best epoch {best.epoch} of {options.epochs}: error on valid {best.loss:.2f} {options.label_unit}; "
        f"always answering the training median gives {floor:.2f}\nweights: {checkpoint}\nlog: {log}"
    )
    return 0


def test(variant, options):
    """Write the levels that `variant` predicts for a rootdir's test pictures, and its error where they have labels."""
    how = {"labels": "optional", "scale": options.label_unit}
    split = read_splits(options.data_dir, ("test",), decode=False, **how)["test"]
    file = weights.find(options.model_weights_path, variant.weight_names(options.level), variant.name)
    backbone_files = find_backbones(variant, options)
    pictures = images.read_ahead(variant.input.load, split.pictures)  # decoding starts while Keras does

    load_keras()
    from common.batches import predict

    model = variant.build(*build_backbones(variant, backbone_files))
    weights.load(model, file)
    try:
        answers = [answer[0] for answer in predict(model, pictures, options.batch_size, len(split), variant.name)]
    except UserError:
        # One picture is bad: before giving up, look at all of them, so that all can be mended at once.
        read_splits(options.data_dir, ("test",), **how)
        raise
    result = Path(options.result_path)
    if result.suffix != ".csv":
        result /= variant.result_name(options.level)
    table = write_results(result, split, options.level, answers)
    print(f"{len(table)} pictures of {split.folder}, weights {file}")
    if split.levels is not None:
        print(error_line(table, options))
    print(f"results: {result}")
    return 0


def find_backbones(variant, options):
    """The weight files of the networks that `variant` stands on, None each where their path may be and is left out."""
    names = [name.format(level=options.level) for name in variant.backbones]
    if options.backbone_path is None:
        return [None] * len(names)
    return [weights.find(options.backbone_path, [name], f"{variant.name}'s autoencoder") for name in names]


def build_backbones(variant, files):
    """The autoencoders that `variant` stands on, with the weights of `files` where there are some."""
    from common.autoencoder import build_autoencoder

    backbones = []
    for number, file in enumerate(files, start=1):
        backbones.append(build_autoencoder(prefix=f"jnd{number}_" if len(files) > 1 else ""))
        if file is not None:
            weights.load(backbones[-1], file, f"{variant.name}'s autoencoder")
    return backbones


def write_results(path, split, level, answers):
    """Write the levels of a split's pictures as CSV, beside their labels where there are some; returns the table."""
    import pandas as pd

    column = f"JND{level}"
    table = pd.DataFrame({"image": [picture.name for picture in split.pictures], column: answers})
    if split.levels is not None:
        table[f"{column}_label"] = split.levels[:, level - 1]
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False)
    return table


def error_line(table, options):
    """The mean absolute error of a result table, beside that of always answering the training median."""
    from common import metrics

    column, unit = f"JND{options.level}", options.label_unit
    labels = table[f"{column}_label"]
    error = f"{column}: mean absolute error {metrics.qp_mae(table[column], labels):.2f} {unit}"
    try:
        train_split = dataset.read_splits(options.data_dir, ("train",), scale=unit, decode=False)[0]["train"]
    except UserError as missing:
        return f"{error} (no training median to compare with: {missing})"
    floor = metrics.median_floor(train_split.levels[:, options.level - 1], labels)
    return f"{error}; always answering the training median gives {floor:.2f} {unit}"
