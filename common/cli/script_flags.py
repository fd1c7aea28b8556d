"""The flags of the scripts, COMMAND by COMMAND: `train_flags`, `test_flags` ..."""

from collections.abc import Sequence

from common.cli.flags import (
    BATCH_SIZE,
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    TF32,
    earlier_flags,
    form,
    frames_flag,
    groups,
    setting_flag,
    training_flags,
    whole_number,
)
from common.cli.program import Parser
from common.encoding.config import CODECS, PLAN_FORMATS, SCENE_QPS, EncodingConfig
from common.models.exported import FORMATS
from common.models.registry import LEVELS, ModelSpec
from common.models.weight_search import WeightsConfig
from common.prediction import config


def _model_flags(needs, rare, specs, every_level=False):
    add = needs.add_argument
    if len(specs) > 1:
        add("--head", choices=[spec.name for spec in specs], required=True, help="which of the models")
    has_all_levels = not any(spec.needs_level for spec in specs)
    add(
        "--jnd_value",
        dest="level",
        choices=LEVELS,
        required=not every_level and all(spec.needs_level for spec in specs),
        help="accepted, without effect: the model predicts all levels"
        if has_all_levels
        else f"the JND level{' (default: all that have weights)' if every_level else ''}",
    )
    if any(spec.level_by_column for spec in specs):
        default = "" if every_level else " (default: 0)"
        text = f"the JND level as the released program counts: 0 for JND1, 1 for JND2, 2 for JND3{default}"
        add("--jnd_column", type=int, choices=(0, 1, 2), help=text)
    text = "height and width that the network sees; released weights fit only the released size"
    rare.add_argument("--input_size", type=COUNT, nargs=2, metavar=("H", "W"), help=text)


def _data_flags(needs, rare):
    needs.add_argument("--data_dir", required=True, metavar="ROOT", help="dataset: a folder with train/, valid/, test/")
    setting_flag(rare, "label_unit", "unit of JND-Levels.txt: QP, 0 to 51, or JPEG quality factors, 0 to 100")


def train_flags(parser: Parser, specs: Sequence[ModelSpec]) -> None:
    (needs, writes, computes, rare), (first, *_) = groups(parser), specs
    _model_flags(needs, rare, specs)
    _data_flags(needs, rare)
    _backbone_flag(needs, first, training=True)
    add = writes.add_argument
    add("--checkpoint_path", required=True, metavar="C", help="folder for the best weights, or an .h5 file")
    add("--csv_log_path", required=True, metavar="L", help="folder for the log of losses, or a .csv file")
    text = "start from these weights of the same model, a file or its folder, instead of from an autoencoder or VGG16"
    computes.add_argument("--start_from", metavar="W", help=text)
    training_flags(writes, computes, rare, first.defaults)
    if any(output.target == "attention map" for spec in specs for output in spec.outputs):
        text = "VA heads only: weight of the attention map's loss; each level has 1; 0 trains without maps"
        setting_flag(rare, "attention_weight", text, type=NOT_NEGATIVE, metavar="W")
    setting_flag(rare, "output_bias", "start of the output's bias: the mean training label, or zero as released")


def test_flags(parser: Parser, specs: Sequence[ModelSpec]) -> None:
    (needs, writes, computes, rare), (first, *_) = groups(parser), specs
    _model_flags(needs, rare, specs)
    _data_flags(needs, rare)
    _weights_flag(needs, specs)
    add = writes.add_argument
    add("--result_path", required=True, metavar="OUT", help="folder for the results, or a .csv file")
    text = "write numbers only, as the released programs: no header, no names, no labels"
    add("--plain", action="store_true", help=text)
    _arithmetic_flags(computes, first)
    _backbone_flag(rare, first, training=False)


def predict_flags(parser: Parser, specs: Sequence[ModelSpec]) -> None:
    needs, writes, computes, encodes, rare = groups(parser, "encoding at the level")
    text = "images, clips, folders with subfolders, patterns such as '**/*.png', or - for a list on standard input"
    needs.add_argument("inputs", nargs="+", metavar="INPUT", help=text)
    _model_flags(needs, rare, specs, every_level=True)
    _weights_flag(needs, specs)
    text = "write a table of all levels: a .csv file, a .jsonl file, or - to print JSON lines and nothing else"
    writes.add_argument("--output", metavar="FILE", help=text)
    earlier_flags(writes, "replace what an earlier run wrote", "keep what an earlier run wrote and do the rest")
    add = computes.add_argument
    modes, default = config.RESIZE_MODES, config.PredictionConfig.resize_mode
    text = "what the network sees of an image. " + "; ".join(map(": ".join, modes.items()))
    add("--fit", dest="resize_mode", choices=modes, default=default, help=text)
    frames_flag(add, config.PredictionConfig.frames, "the first of each scene and of each second")
    text = "also print the QP at which this share of viewers sees no loss (levels: 0.75); encoding then rounds it down"
    add("--sur", type=POSITIVE, metavar="SHARE", help=text)
    _arithmetic_flags(computes, specs[0], "onnxruntime where it can export and there is no GPU, else tensorflow")
    address = form(r"((tcp|tls)://)?(\[[^]\s]+\]|[^/:\s]+):\d{1,5}", "a scheduler's address such as tcp://HOST:8786")
    text = "let the workers of this Dask scheduler predict, such as tcp://HOST:8786; see docs/cluster.md"
    rare.add_argument("--dask", type=address, metavar="ADDRESS", help=text)
    add = encodes.add_argument
    add("--encode", metavar="DIR", help="encode each input at its level into DIR, with a report")
    text = "print what another tool encodes with: scenes as text or JSON, command lines of ffmpeg, zones of x265, ..."
    add("--format", choices=PLAN_FORMATS, help=text)
    text = "the level to encode at (default: the first that the model predicts)"
    level = add("--level", dest="coded_level", choices=LEVELS, help=text)
    text = (
        "h264: at the level's QP, as VideoSet did; hevc-qp: HEVC at the same QP; h264-crf, hevc-crf: encoder's "
        "defaults, at the CRF with the PSNR of h264; hevc, av1, jpeg: tuned for PSNR, at the setting with that PSNR"
    )
    codec = add("--codec", choices=CODECS, default=EncodingConfig.codec, help=text)
    text = "compare sizes with everything encoded at this QP (default: the lowest predicted one, of all inputs)"
    baseline = add("--baseline", type=whole_number(1, 51), metavar="QP", help=text)
    text = "a scene's QP: the lowest or the median of its frames' QPs"
    scene = add("--scene", choices=SCENE_QPS, default=EncodingConfig.scene, help=text)
    text = "encode N scenes of a clip at a time; the result is the same (default: one for each two cores)"
    jobs = add("--jobs", type=COUNT, metavar="N", help=text)
    own = (level, codec, baseline, scene, jobs)  # for --encode or, but the baseline and the jobs, --format
    parser.set_defaults(of_encoding=own)


def export_flags(parser: Parser, specs: Sequence[ModelSpec]) -> None:
    needs, writes, computes, rare = groups(parser)
    _model_flags(needs, rare, specs)
    _weights_flag(needs, specs, exported=False)
    add = writes.add_argument
    add("--format", choices=tuple(FORMATS), required=True, help="the runtime that the file is for")
    endings = ", ".join(form.suffix for form in FORMATS.values())
    add("--output", required=True, metavar="FILE", help=f"the file to write, ending in {endings}, or a folder for it")
    add("--overwrite", action="store_true", help="replace what was exported before")
    text = "number format of the weights in the file; float16 halves its size and moves levels by about 0.01 QP"
    computes.add_argument(
        "--precision", choices=("float32", "float16"), default=config.ExportConfig.precision, help=text
    )


def _weights_flag(needs, specs, exported=True):
    names = ", ".join(dict.fromkeys(spec.released_name("JND1") for spec in specs))
    text = f"{names}; a file that {'export or ' if exported else ''}`weights convert` made of it; or a folder of them"
    needs.add_argument("--model_weights_path", default=WeightsConfig.model_weights_path, metavar="W", help=text)


def _arithmetic_flags(computes, spec, default="tensorflow"):
    add = computes.add_argument
    text = "number format; bfloat16 is faster where the processor has it, and moves levels by about 0.1 QP"
    add("--precision", choices=config.PRECISIONS, default=config.ComputeConfig.precision, help=text)
    add("--tf32", choices=config.SWITCH, default=config.ComputeConfig.tf32, help=TF32)
    text = (
        "tensorflow, jax or torch: Keras on it; onnxruntime or openvino: without Keras, from weights exported once "
        f"into a cache (default: $KERAS_BACKEND, or {default}; of an exported network, its own)"
    )
    add("--backend", choices=config.BACKENDS, metavar="B", help=text)
    add("--batch_size", type=COUNT, metavar="N", help=BATCH_SIZE.format("predicted", spec.test_batch_size))


def _backbone_flag(group, spec, training):
    backbone = spec.backbone
    if backbone and (training or backbone.optional_in_test):
        note = "" if training else "; not needed: the model's own weights hold what it needs of them"
        group.add_argument(
            backbone.flag,
            dest="backbone_weights",
            default=backbone.default if training else None,
            metavar="R" if backbone.optional_in_test else "FILE",
            help=f"{backbone.help()}{note}",
        )
