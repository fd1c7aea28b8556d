"""The flags of the scripts, COMMAND by COMMAND: `train_flags`, `test_flags` ..."""

from common.cli.flags import choice_flag, form, frames_flag, not_negative, positive, training_flags
from common.core.environment import PRETRAINED
from common.encoding.config import CODECS, SCENE_QPS
from common.models.exported import FORMATS
from common.models.registry import LEVELS
from common.prediction.config import BACKENDS
from common.prediction.resize_modes import PRECISIONS, RESIZE_MODES


def _model_flags(parser, specs, every_level=False):
    add = parser.add_argument
    if len(specs) > 1:
        add("--head", choices=[spec.name for spec in specs], required=True, help="which of the models")
    has_all_levels = not any(spec.needs_level for spec in specs)
    every = "; by default all that have weights" if every_level else ""
    add(
        "--jnd_value",
        dest="level",
        choices=LEVELS,
        required=not every_level and all(spec.needs_level for spec in specs),
        help="accepted, without effect: the model predicts all levels" if has_all_levels else f"the JND level{every}",
    )
    if any(spec.level_by_column for spec in specs):
        add(
            "--jnd_column",
            type=int,
            choices=(0, 1, 2),
            help=f"the same, counted from 0{'' if every_level else '; by default 0'}",
        )
    text = "height and width that the network sees; released weights fit only the released size"
    add("--input_size", type=positive(int), nargs=2, metavar=("H", "W"), help=text)


def _data_flags(parser):
    add = parser.add_argument
    add("--data_dir", required=True, metavar="ROOT", help="the dataset: a folder with train/, valid/, test/")
    choice_flag(add, "label_unit", "of JND-Levels.txt: QP 0 to 51, or JPEG quality factors 0 to 100")


def train_flags(parser, specs):
    add, (first, *_) = parser.add_argument, specs
    _model_flags(parser, specs)
    _data_flags(parser)
    add("--checkpoint_path", required=True, metavar="C", help="folder for the best weights, or an .h5 file")
    add("--csv_log_path", required=True, metavar="L", help="folder for the log of losses, or a .csv file")
    _backbone_flag(parser, first, training=True)
    text = "weight file of this model, or its folder, to start from instead, such as the released one"
    add("--start_from", metavar="W", help=text)
    training_flags(parser, first.defaults)
    if any(output.target == "attention map" for spec in specs for output in spec.outputs):
        text = "weight of the attention map's loss, where each level has 1; 0 trains without maps; the VA heads only"
        add("--attention_weight", type=not_negative, default=1.0, help=text)
    choice_flag(add, "output_bias", "start of the output's bias: the mean training label, or zero as released")


def test_flags(parser, specs):
    first, *_ = specs
    _model_flags(parser, specs)
    _data_flags(parser)
    _weights_flag(parser, specs)
    _arithmetic_flags(parser)
    parser.add_argument("--result_path", required=True, metavar="OUT", help="folder for the results, or a .csv file")
    text = "write the predicted levels only, as the released programs: no header, no names, no labels"
    parser.add_argument("--plain", action="store_true", help=text)
    _backbone_flag(parser, first, training=False)
    _batch_size_flag(parser, first)


def predict_flags(parser, specs):
    add, (first, *_) = parser.add_argument, specs
    text = "images, clips, folders (with all below), patterns such as '**/*.png', or - for a list from stdin"
    add("inputs", nargs="+", metavar="INPUT", help=text)
    _model_flags(parser, specs, every_level=True)
    _weights_flag(parser, specs)
    _arithmetic_flags(parser)
    add("--output", metavar="FILE", help="write the table there too: .csv, or .jsonl for JSON lines")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help="keep what FILE holds of an earlier run, do the others")
    earlier.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote")
    text = "what the network sees of an image: " + "; ".join(map(": ".join, RESIZE_MODES.items()))
    add("--fit", dest="resize_mode", choices=RESIZE_MODES, default="stretch", help=text)
    frames_flag(add, "scenes+1s", "the first of each scene and of each second")
    _batch_size_flag(parser, first)
    address = form(r"((tcp|tls)://)?(\[[^]\s]+\]|[^/:\s]+):\d{1,5}", "a scheduler's address such as tcp://HOST:8786")
    text = "let the workers of the dask scheduler at ADDRESS predict, such as tcp://HOST:8786; see docs/cluster.md"
    add("--dask", type=address, metavar="ADDRESS", help=text)
    add(
        "--sur",
        type=positive(float),
        metavar="SHARE",
        help="also give the QP at which this share of viewers sees no loss (0.75 is what the models predict); coded "
        "QPs are then rounded down",
    )
    add = parser.add_argument_group("encoding at the level").add_argument
    add("--encode", metavar="DIR", help="encode each input at its level into DIR, with a report")
    text = "the level to encode at; by default the first that the model predicts"
    level = add("--level", dest="coded_level", choices=LEVELS, help=text)
    text = "h264: at the QP, as VideoSet's levels mean it; others: with that PSNR"
    codec = add("--codec", choices=CODECS, default="h264", help=text)
    baseline = add(
        "--baseline",
        type=_qp,
        metavar="QP",
        help="compare sizes with everything encoded at this QP; by default the lowest predicted QP of this run, which "
        "--resume with more inputs may change",
    )
    text = "a scene's QP: the lowest or the median of its frames' QPs"
    scene = add("--scene", choices=SCENE_QPS, default="lowest", help=text)
    parser.set_defaults(of_encoding=(level, codec, baseline, scene))  # without effect unless --encode is given


def export_flags(parser, specs):
    add = parser.add_argument
    _model_flags(parser, specs)
    _weights_flag(parser, specs, exported=False)
    add("--format", choices=tuple(FORMATS), required=True, help="the runtime that the file is for")
    endings = ", ".join(form.suffix for form in FORMATS.values())
    add("--output", required=True, metavar="FILE", help=f"the file to write, ending in {endings}, or a folder for it")
    text = "of the weights in the file; float16 halves it, computes in float32 too and moves levels by about 0.01 QP"
    add("--precision", choices=("float32", "float16"), default="float32", help=text)
    add("--overwrite", action="store_true", help="replace what was exported before")


def _qp(text):
    """Parse a flag: a QP."""
    return int(form(r"[1-9]|[1-4]\d|5[01]", "a QP, a whole number from 1 to 51")(text))


def _batch_size_flag(parser, spec):
    default = spec.test_batch_size
    parser.add_argument("--batch_size", type=positive(int), default=default, help="images predicted at once")


def _weights_flag(parser, specs, exported=True):
    names = ", ".join(dict.fromkeys(spec.released_name("JND1") for spec in specs))
    text = f"{names}, or what {'export or ' if exported else ''}weights convert wrote of it, or a folder that holds it"
    parser.add_argument("--model_weights_path", default=PRETRAINED, metavar="W", help=text)


def _arithmetic_flags(parser):
    add = parser.add_argument
    text = "of weights and arithmetic; bfloat16 is faster where the processor has it, and within about 0.1 QP"
    add("--precision", choices=PRECISIONS, default="float32", help=text)
    text = (
        "what computes: Keras on tensorflow, jax or torch (by default $KERAS_BACKEND, or tensorflow); onnxruntime or "
        "openvino without Keras, from weights exported once into a cache; an exported network has its own"
    )
    add("--backend", choices=BACKENDS, help=text)


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
