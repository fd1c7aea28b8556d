"""`python3 -m common.prepare COMMAND ...`: make datasets in the rootdir layout (see `common.data.dataset`), check them.

`videoset` and `mcl-jci` convert one of the two datasets as they are downloaded, `photos` and `clips` a user's own
images and videos; `attention` adds computed attention maps; `check` says whether a dataset is fit to train on.  The
flags are here; each command is a function of `common.data` whose parameters have their names.
"""

import argparse

from common.cli import program
from common.cli.flags import form, frames_flag
from common.core.threads import CORES
from common.data.dataset import LEVELS, SPLIT_SHARES, SPLITS


def whole_number(least, most=None):
    """Make an argparse type: a whole number within these bounds."""

    def number(text):
        if not text.isdecimal() or int(text) < least or (most and int(text) > most):
            span = f"from {least} to {most}" if most else f"at least {least}"
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, {span}")
        return int(text)

    return number


SIZE = form(r"[1-9]\d*x[1-9]\d*", "width and height, such as 640x360")
SIZE_OR_OWN = form(r"own|[1-9]\d*x[1-9]\d*", "width and height, such as 640x360, or own")


def numbers(text):
    """Parse a flag: "1-160,170" is [1, ..., 160, 170], "none" is []."""
    spans = form(r"none|\d+(-\d+)?(,\d+(-\d+)?)*", "numbers such as 1-160,170, or none")(text).split(",")
    spans = [[int(end) for end in span.split("-")] for span in spans if span != "none"]
    return [number for span in spans for number in range(span[0], span[-1] + 1)]


def share(text):
    """Parse a flag: a number between 0 and 1."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a share between 0 and 1, such as 0.75")
    return number


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; `command` of what it parses is the name of the command."""
    parser = program.Parser(
        prog="python3 -m common.prepare",
        description="Make datasets in the layout that the programs train on, and check them.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)

    def command(name, line, description):
        added = commands.add_parser(name, help=line, description=description, formatter_class=argparse.HelpFormatter)
        return added.add_argument

    add = command(
        "videoset",
        "make a dataset from VideoSet's clips and label sheets",
        "Frames of VideoSet's reference clips, their frames at each level from the clips coded at its QP (coded here "
        "where such a clip is not there), and the labels of the sheets.  No clip is in two splits.  Goes on where it "
        "was interrupted.",
    )
    add("clip_dir", metavar="CLIP_DIR", help="folder of clips such as videoSRC005_640x360_30_qp_00.264, at any depth")
    add("sheet_dir", metavar="SHEET_DIR", help="folder of label sheets such as 640x360_1st.csv")
    add("--size", type=SIZE, default="640x360", help="which of the sizes (default: %(default)s, the papers')")
    add("--label", choices=("jnd", "mean"), default="jnd", help="which column of the sheets (default: %(default)s)")
    frames_flag(add, "1s", "the first of each second")
    _dataset_flags(add, "clips")
    text = "numbers of the clips in each split, such as 1-160 161-190 191-220, instead of --split"
    add("--clips", metavar=SPLITS, type=numbers, nargs=3, help=text)

    add = command(
        "mcl-jci",
        "make a dataset from MCL-JCI's images and label sheets",
        "MCL-JCI's images, its JPEGs at each level, and labels.  Its levels are JPEG quality factors (QF), where "
        "higher is better.  Goes on where it was interrupted.",
    )
    add("image_dir", metavar="IMAGE_DIR", help="folder of ImageJND_SRC01.bmp and ImageJND_SRC01_001.jpg, at any depth")
    add("sheet_dir", metavar="SHEET_DIR", help="folder of label sheets, which their columns tell apart")
    text = (
        "sur: where the fitted satisfied user ratio reaches --ratio; quartile, median or mean of the subjects; stairs: "
        "the image's staircase (default: %(default)s)"
    )
    add("--label", choices=("sur", "quartile", "median", "mean", "stairs"), default="sur", help=text)
    add("--ratio", type=share, default=0.75, help="of users satisfied, for --label sur (default: %(default)s)")
    text = (
        "of the labels: QF as people were asked, or QP of the H.264 intra frame with the nearest PSNR, computed, for "
        "which each image is coded 51 times (default: %(default)s)"
    )
    add("--unit", choices=("QF", "QP"), default="QF", help=text)
    add("--fold", type=whole_number(1, 10), default=1, help="test is this fold, valid the next (default: %(default)s)")
    _dataset_flags(add, "images", None, "instead of --fold")

    add = command(
        "photos",
        "a folder of photographs, with pseudo-labels by VMAF",
        "Crops of photographs as 640x360 images with pseudo-labels, not human ones: the largest QP at which VMAF stays "
        "at or above a threshold, one a level.  Goes on where it was interrupted.",
    )
    add("photo_dir", metavar="PHOTO_DIR", help="folder of photographs, searched recursively")
    add("--crops", metavar="N", type=whole_number(1), default=4, help="images a photograph, at most (default: 4)")
    _dataset_flags(add, "photographs")
    _vmaf_flag(add)
    add("--enlarge", action="store_true", help="use photographs smaller than 640x360 too, enlarged")

    add = command(
        "clips",
        "a folder of videos, with pseudo-labels by VMAF or labels of your own",
        "Frames of videos with pseudo-labels, not human ones: the largest QP at which a frame's VMAF stays at or above "
        "a threshold, one a level; or with the levels that --labels gives for each clip.  No clip is in two splits.  "
        "Goes on where it was interrupted.",
    )
    add("clip_dir", metavar="CLIP_DIR", help="folder of videos, searched recursively")
    add("--labels", metavar="CSV", help="file of the columns name,JND1,JND2,JND3, a clip a row, QP 0 to 51")
    frames_flag(add, "scenes", "the first of each scene")
    text = "scale and cut frames to this size, or own (default: own with --labels, else 640x360, for which the "
    add("--size", type=SIZE_OR_OWN, help=f"{text}thresholds were chosen)")
    _dataset_flags(add, "clips")
    _vmaf_flag(add)

    add = command(
        "attention",
        "attention maps of a dataset's images, computed, not measured gaze",
        "ROOT/vatrain/ and ROOT/vavalid/ for the attention decoder: a gray PNG for each image, brighter where "
        "people would probably look, computed by Boolean Map Saliency; not measured gaze.  Existing maps are kept, "
        "your own too.",
    )
    add("--data_dir", metavar="ROOT", required=True, help="folder of the dataset")
    text, default = "of train, valid and test (default: train valid)", ["train", "valid"]
    add("--splits", metavar="SPLIT", nargs="+", choices=SPLITS, default=default, help=text)
    _jobs_flag(add)
    add("--overwrite", action="store_true", help="replace every map that ends in .png, your own ones too")

    add = command(
        "check",
        "whether a dataset is fit to train on",
        "Counts, sizes, labels and the median baseline that a model must beat; images in two splits, levels out of "
        "order, coded images that do not fit.  Exit code 1 where something would spoil a training.",
    )
    add("data_dir", metavar="ROOT", help="folder of the dataset")
    add("--label_unit", choices=("QP", "QF"), help="of JND-Levels.txt (default: as ROOT/manifest.csv says, else QP)")
    text = "where the histogram of the labels goes (default: ROOT/check.png)"
    add("--picture", metavar="PNG", dest="plot", help=text)
    _jobs_flag(add)
    return parser


def _vmaf_flag(add):
    text = "VMAF threshold for each level (default: 92 84 76, for levels roughly where VideoSet's are)"
    add("--vmaf", metavar=LEVELS, type=float, nargs=3, help=text)


def _dataset_flags(add, nouns, split=SPLIT_SHARES, remark="(default: 0.7 0.15 0.15)"):
    """The flags of every command that makes a dataset."""
    add("--data_dir", metavar="ROOT", required=True, help="folder of the dataset")
    text = f"shares that sum to 1, or numbers of {nouns}, {remark}"
    add("--split", metavar=("TRAIN", "VALID", "TEST"), type=float, nargs=3, default=split and list(split), help=text)
    add("--seed", type=whole_number(0), default=0, help="of everything that is drawn (default: %(default)s)")
    _jobs_flag(add)
    add("--overwrite", action="store_true", help="replace what this command made in ROOT with other settings")


def _jobs_flag(add):
    text = "how many at a time (default: the cores, %(default)s)"
    add("--jobs", metavar="N", type=whole_number(1), default=CORES, help=text)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; return its exit code."""
    flags = vars(build_parser().parse_args(arguments))
    # Not before a command runs: they need pandas and scikit-image.
    from common.data import attention_maps, check, mcl_jci, photographs, videos, videoset

    commands = {
        "videoset": videoset.build_videoset,
        "mcl-jci": mcl_jci.build_mcl_jci,
        "photos": photographs.build_photos,
        "clips": videos.build_clips,
        "attention": attention_maps.make_maps,
        "check": check.check_dataset,
    }
    return commands[flags.pop("command")](**flags)


if __name__ == "__main__":
    program.run(main)
