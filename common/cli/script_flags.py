"""The flags of the scripts, COMMAND by COMMAND: `train_flags`, `test_flags` ..."""

from common.cli.flags import form, frames_flag, positive, training_flags
from common.core.environment import PRETRAINED
from common.encoding.config import CODECS, SCENE_QPS
from common.models.registry import LEVELS
from common.prediction.formats import FORMATS
from common.prediction.resize_modes import RESIZE_MODES


def _model_flags(parser, specs, every_level=False):
    if len(specs) > 1:
        parser.add_argument("--head", choices=[spec.name for spec in specs], required=True, help="which of the models")
    has_all_levels = not any(spec.needs_level for spec in specs)
    every = "; by default all that have weights" if every_level else ""
    parser.add_argument(
        "--jnd_value",
        dest="level",
        choices=LEVELS,
        required=not every_level and all(spec.needs_level for spec in specs),
        help="accepted, without effect: the model predicts all levels" if has_all_levels else f"the JND level{every}",
    )
    if any(spec.level_by_column for spec in specs):
        parser.add_argument("--jnd_column", type=int, choices=(0, 1, 2), help="the same, counted from 0")
    parser.add_argument(
        "--input_size",
        type=positive(int),
        nargs=2,
        metavar=("H", "W"),
        help="height and width that the network sees; released weights fit only the released size",
    )


def _data_flags(parser):
    parser.add_argument(
        "--data_dir", required=True, metavar="ROOT", help="the dataset: a folder with train/, valid/, test/"
    )
    parser.add_argument(
        "--label_unit",
        choices=("QP", "QF"),
        default="QP",
        help="of JND-Levels.txt: QP 0 to 51, or JPEG quality factors 0 to 100",
    )


def train_flags(parser, specs):
    first, *_ = specs
    _model_flags(parser, specs)
    _data_flags(parser)
    parser.add_argument(
        "--checkpoint_path", required=True, metavar="C", help="folder for the best weights, or an .h5 file"
    )
    parser.add_argument(
        "--csv_log_path", required=True, metavar="L", help="folder for the log of losses, or a .csv file"
    )
    _backbone_flag(parser, first, training=True)
    training_flags(parser, first.defaults)
    if any(output.target == "attention map" for spec in specs for output in spec.outputs):
        parser.add_argument(
            "--attention_weight",
            type=positive(float),
            default=1.0,
            help="weight of the attention map's loss, where each level has 1; the VA heads only",
        )
    parser.add_argument(
        "--output_bias",
        choices=("mean", "zero"),
        default="mean",
        help="start of the output's bias: the mean training label, or zero as released",
    )


def test_flags(parser, specs):
    first, *_ = specs
    _model_flags(parser, specs)
    _data_flags(parser)
    _weights_flag(parser, specs)
    _arithmetic_flags(parser)
    parser.add_argument("--result_path", required=True, metavar="OUT", help="folder for the results, or a .csv file")
    _backbone_flag(parser, first, training=False)
    _batch_size_flag(parser, first)


def predict_flags(parser, specs):
    first, *_ = specs
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="images, clips, folders (with all below), patterns such as '**/*.png', or - for a list from stdin",
    )
    _model_flags(parser, specs, every_level=True)
    _weights_flag(parser, specs)
    _arithmetic_flags(parser)
    parser.add_argument("--output", metavar="FILE", help="write the table there too: .csv, or .jsonl for JSON lines")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help="keep what FILE holds of an earlier run, do the others")
    earlier.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote")
    parser.add_argument(
        "--fit",
        dest="resize_mode",
        choices=RESIZE_MODES,
        default="stretch",
        help="what the network sees of an image: "
        + "; ".join(f"{name}: {text}" for name, text in RESIZE_MODES.items()),
    )
    frames_flag(parser.add_argument, "scenes+1s", "the first of each scene and of each second")
    _batch_size_flag(parser, first)
    parser.add_argument(
        "--dask",
        type=form(r"((tcp|tls)://)?(\[[^]\s]+\]|[^/:\s]+):\d{1,5}", "a scheduler's address such as tcp://HOST:8786"),
        metavar="ADDRESS",
        help="let the workers of the dask scheduler at ADDRESS predict, such as tcp://HOST:8786; see docs/cluster.md",
    )
    parser.add_argument(
        "--sur",
        type=positive(float),
        metavar="SHARE",
        help="also give the QP at which this share of viewers sees no loss (0.75 is what the models predict); coded "
        "QPs are then rounded down",
    )
    encoding = parser.add_argument_group("encoding at the level")
    encoding.add_argument("--encode", metavar="DIR", help="encode each input at its level into DIR, with a report")
    level = encoding.add_argument(
        "--level",
        dest="coded_level",
        choices=LEVELS,
        help="the level to encode at; by default the first that the model predicts",
    )
    codec = encoding.add_argument(
        "--codec",
        choices=CODECS,
        default="h264",
        help="h264: at the QP, as VideoSet's levels mean it; others: with that PSNR",
    )
    baseline = encoding.add_argument(
        "--baseline",
        type=_qp,
        metavar="QP",
        help="compare sizes with everything encoded at this QP; by default the lowest predicted QP of this run, which "
        "--resume with more inputs may change",
    )
    scene = encoding.add_argument(
        "--scene", choices=SCENE_QPS, default="lowest", help="a scene's QP: the lowest or the median of its frames' QPs"
    )
    parser.set_defaults(of_encoding=(level, codec, baseline, scene))  # without effect unless --encode is given


def export_flags(parser, specs):
    _model_flags(parser, specs)
    _weights_flag(parser, specs)
    parser.add_argument("--format", choices=tuple(FORMATS), required=True, help="the runtime that the file is for")
    endings = ", ".join(form.suffix for form in FORMATS.values())
    parser.add_argument(
        "--output", required=True, metavar="FILE", help=f"the file to write, ending in {endings}, or a folder for it"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "float16"),
        default="float32",
        help="of the weights in the file; float16 halves it, computes in float32 too and moves levels by about 0.01 QP",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what was exported before")


def _qp(text):
    """An argparse type: a QP."""
    return int(form(r"[1-9]|[1-4]\d|5[01]", "a QP, a whole number from 1 to 51")(text))


def _batch_size_flag(parser, spec):
    parser.add_argument(
        "--batch_size", type=positive(int), default=spec.test_batch_size, help="images predicted at once"
    )


def _weights_flag(parser, specs):
    files = ", ".join(dict.fromkeys(spec.released_name("JND1") for spec in specs))
    parser.add_argument(
        "--model_weights_path", default=PRETRAINED, metavar="W", help=f"{files}, or a folder that holds it"
    )


def _arithmetic_flags(parser):
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of weights and arithmetic; bfloat16 is faster where the processor has it, and within about 0.1 QP",
    )
    parser.add_argument(
        "--backend",
        choices=("tensorflow", "openvino", "jax", "torch"),
        help="Keras's backend; by default $KERAS_BACKEND, or tensorflow",
    )


def _backbone_flag(parser, spec, training):
    backbone = spec.backbone
    if backbone and (training or backbone.optional_in_test):
        note = "" if training else "; may be left out: the model's own weights hold what it needs of them"
        parser.add_argument(
            backbone.flag,
            dest="backbone_weights",
            default=backbone.default if training else None,
            metavar="R" if backbone.optional_in_test else "FILE",
            help=f"{backbone.help()}{note}",
        )
