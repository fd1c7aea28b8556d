"""`python3 -m common.prepare COMMAND ...`: datasets in the rootdir layout (see `common.data.dataset`), and a look at them.

`videoset` and `mcl-jci` make one of the two datasets as they are downloaded, `photos` and `clips` of a user's own
pictures and videos; `attention` adds computed attention maps; `check` tells whether one is fit to train on.  Each is
a file of its own; here is their command line.
"""

import argparse
import importlib

from common.cli.flags import form, frames_flag
from common.core import threads
from common.data.dataset import LEVELS, SPLITS
from common.data.pseudolabels import THRESHOLDS


def whole_number(least, most=None):
    def number(text):
        if not text.isdecimal() or int(text) < least or (most and int(text) > most):
            span = f"from {least} to {most}" if most else f"at least {least}"
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, {span}")
        return int(text)

    return number


SIZE = form(r"[1-9]\d*x[1-9]\d*", "width and height, such as 640x360")
SIZE_OR_OWN = form(r"own|[1-9]\d*x[1-9]\d*", "width and height, such as 640x360, or own")


def numbers(text):
    """ "1-160,170": [1, ..., 160, 170]; "none": []."""
    spans = form(r"none|\d+(-\d+)?(,\d+(-\d+)?)*", "numbers such as 1-160,170, or none")(text).split(",")
    spans = [[int(end) for end in span.split("-")] for span in spans if span != "none"]
    return [number for span in spans for number in range(span[0], span[-1] + 1)]


def share(text):
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a share between 0 and 1, such as 0.75")
    return number


def build_parser():
    from common.cli import program

    parser = program.Parser(prog="python3 -m common.prepare", description="Datasets into the rootdir layout.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name, run, line, description):
        added = commands.add_parser(name, help=line, description=description, formatter_class=argparse.HelpFormatter)
        added.set_defaults(run=run)
        return added.add_argument

    add = command(
        "videoset",
        "common.data.videoset:videoset",
        "VideoSet, of its downloaded clips and label sheets",
        "Frames of VideoSet's reference clips, their frames at each level from the clips coded at its QP (coded here "
        "where such a clip is not there), and the labels of the sheets.  No clip is in two splits.  Goes on where it "
        "was interrupted.",
    )
    add("clip_dir", metavar="CLIP_DIR", help="folder of clips such as videoSRC005_640x360_30_qp_00.264, at any depth")
    add("sheet_dir", metavar="SHEET_DIR", help="folder of label sheets such as 640x360_1st.csv")
    add("--size", type=SIZE, default="640x360", help="which of the sizes (default: %(default)s, the papers')")
    add("--label", choices=("jnd", "mean"), default="jnd", help="which column of the sheets (default: %(default)s)")
    frames_flag(add, "1s", "the first of each second")
    _making_flags(add, "clips")
    add(
        "--clips",
        metavar=SPLITS,
        type=numbers,
        nargs=3,
        help="numbers of the clips in each split, such as 1-160 161-190 191-220, instead of --split",
    )

    add = command(
        "mcl-jci",
        "common.data.mcl_jci:mcl_jci",
        "MCL-JCI, of its downloaded pictures and label sheets",
        "MCL-JCI's pictures, its JPEGs at each level, and labels.  Its levels are JPEG quality factors (QF), where "
        "higher is better.  Goes on where it was interrupted.",
    )
    add(
        "picture_dir",
        metavar="PICTURE_DIR",
        help="folder with ImageJND_SRC01.bmp and ImageJND_SRC01_001.jpg, any depth",
    )
    add("sheet_dir", metavar="SHEET_DIR", help="folder of label sheets, told apart by their columns")
    add(
        "--label",
        choices=("sur", "quartile", "median", "mean", "stairs"),
        default="sur",
        help="sur: where the fitted satisfied user ratio reaches --ratio; quartile, median or mean of the subjects; "
        "stairs: the picture's staircase (default: %(default)s)",
    )
    add("--ratio", type=share, default=0.75, help="of users satisfied, for --label sur (default: %(default)s)")
    add(
        "--unit",
        choices=("QF", "QP"),
        default="QF",
        help="of the labels: QF as people were asked, or QP of the H.264 intra frame with the nearest PSNR, computed, "
        "for which each picture is coded 51 times (default: %(default)s)",
    )
    add("--fold", type=whole_number(1, 10), default=1, help="test is this fold, valid the next (default: %(default)s)")
    _making_flags(add, "pictures", None, "instead of --fold")

    add = command(
        "photos",
        "common.data.photographs:photos",
        "a folder of photographs, with pseudo-labels by VMAF",
        "Crops of photographs as 640x360 frames with pseudo-labels, not human ones: the largest QP at which VMAF stays "
        "at or above a threshold, one a level.  Goes on where it was interrupted.",
    )
    add("photo_dir", metavar="PHOTO_DIR", help="folder of photographs, searched recursively")
    add("--crops", metavar="N", type=whole_number(1), default=4, help="frames a photograph, at most (default: 4)")
    _making_flags(add, "photographs")
    _vmaf_flag(add, list(THRESHOLDS))
    add("--enlarge", action="store_true", help="take photographs smaller than 640x360 too, enlarged")

    add = command(
        "clips",
        "common.data.videos:clips",
        "a folder of videos, with pseudo-labels by VMAF or labels of your own",
        "Frames of videos with pseudo-labels, not human ones: the largest QP at which a frame's VMAF stays at or above "
        "a threshold, one a level; or with the levels that --labels gives for each clip.  No clip is in two splits.  "
        "Goes on where it was interrupted.",
    )
    add("clip_dir", metavar="CLIP_DIR", help="folder of videos, searched recursively")
    add("--labels", metavar="CSV", help="file of the columns name,JND1,JND2,JND3, a clip a row, QP 0 to 51")
    frames_flag(add, "scenes", "the first of each scene")
    add(
        "--size",
        type=SIZE_OR_OWN,
        help="scale and cut frames to this size, or own (default: own with --labels, else 640x360, for which the "
        "thresholds were chosen)",
    )
    _making_flags(add, "clips")
    _vmaf_flag(add, None)

    add = command(
        "attention",
        "common.data.attention_maps:make_maps",
        "attention maps of a dataset's pictures, computed, not measured gaze",
        "ROOT/vatrain/ and ROOT/vavalid/ for the visual-attention tail: a gray PNG for each picture, brighter where "
        "people would probably look, computed by Boolean Map Saliency; not measured gaze.  Maps that are there are "
        "kept, your own too.",
    )
    add("--data_dir", metavar="ROOT", required=True, help="folder of the dataset")
    add(
        "--splits",
        metavar="SPLIT",
        nargs="+",
        choices=SPLITS,
        default=["train", "valid"],
        help="of train, valid and test (default: train valid)",
    )
    _jobs_flag(add)
    add("--overwrite", action="store_true", help="make every map named .png anew, your own ones too")

    add = command(
        "check",
        "common.data.check:check",
        "whether a dataset is fit to train on",
        "Counts, sizes, labels and the floor that a model must beat; pictures in two splits, levels out of order, JND "
        "frames that do not fit their picture.  Exit code 1 where something would spoil a training.",
    )
    add("data_dir", metavar="ROOT", help="folder of the dataset")
    add("--label_unit", choices=("QP", "QF"), help="of JND-Levels.txt (default: as ROOT/manifest.csv says, else QP)")
    add("--picture", metavar="PNG", help="where the histogram of the labels goes (default: ROOT/check.png)")
    _jobs_flag(add)
    return parser


def _vmaf_flag(add, default):
    text = "threshold a level (default: 92 84 76, for levels roughly where VideoSet's are)"
    add("--vmaf", metavar=LEVELS, type=float, nargs=3, default=default, help=text)


def _making_flags(add, nouns, split=(0.7, 0.15, 0.15), remark="(default: 0.7 0.15 0.15)"):
    """The flags of every command that makes a dataset."""
    add("--data_dir", metavar="ROOT", required=True, help="folder of the dataset")
    text = f"shares that sum to 1, or numbers, of {nouns}, {remark}"
    add("--split", metavar=("TRAIN", "VALID", "TEST"), type=float, nargs=3, default=split and list(split), help=text)
    add("--seed", type=whole_number(0), default=0, help="draws what is drawn (default: %(default)s)")
    _jobs_flag(add)
    add("--overwrite", action="store_true", help="replace what this command made in ROOT with other settings")


def _jobs_flag(add):
    text = "how many at a time (default: the cores, %(default)s)"
    add("--jobs", metavar="N", type=whole_number(1), default=threads.CORES, help=text)


def main(arguments=None):
    arguments = build_parser().parse_args(arguments)
    module, function = arguments.run.split(":")
    return getattr(importlib.import_module(module), function)(arguments)


if __name__ == "__main__":
    from common.cli import program

    program.run(main)
