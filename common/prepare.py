# PYTHON_ARGCOMPLETE_OK
"""`python3 -m common.prepare COMMAND ...`: make datasets in the rootdir layout (see `common.data.layout`), check them.

`videoset`, `mcl-jci` and `konjnd` convert one of these datasets as it is downloaded, `photos` and `clips` a user's own
images and videos; `attention` adds computed attention maps; `check` says whether a dataset is fit to train on.  The
flags are here; each command is a function of `common.data` whose parameters have their names.
"""

import argparse

from common.cli import program
from common.cli.flags import COUNT, form, frames_flag, groups, number, whole_number
from common.core.threads import CORES
from common.data.layout import LEVELS, SPLIT_SHARES, SPLITS

SHARE = number(float, "a share between 0 and 1, such as 0.75", lambda share: 0 < share < 1)
SIZE = form(r"[1-9]\d*x[1-9]\d*", "width and height, such as 640x360")
SIZE_OR_OWN = form(r"own|[1-9]\d*x[1-9]\d*", "width and height, such as 640x360, or own")


def numbers(text: str) -> list[int]:
    """Parse a flag: "1-160,170" is [1, ..., 160, 170], "none" is []."""
    spans = form(r"none|\d+(-\d+)?(,\d+(-\d+)?)*", "numbers such as 1-160,170, or none")(text).split(",")
    spans = [[int(end) for end in span.split("-")] for span in spans if span != "none"]
    return [number for span in spans for number in range(span[0], span[-1] + 1)]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; `command` of what it parses is the name of the command."""
    parser = program.Parser(
        ["photos PHOTOS/ --data_dir ROOT/", "check ROOT/", "photos --help"],
        prog="python3 -m common.prepare",
        description="Make datasets in the layout that the programs train on, and check them.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)

    def command(name, line, description, *examples):
        """Add a command; return the functions that add flags to its groups."""
        added = commands.add_parser(name, help=line, description=description, examples=examples)
        return [group.add_argument for group in groups(added)]

    needs, writes, computes, rare = command(
        "videoset",
        "make a dataset from VideoSet's clips and label sheets",
        "Frames of VideoSet's reference clips, their frames at each level from the clips coded at its QP (coded here "
        "where such a clip is not there), and the labels of the sheets. No clip is in two splits. The same command "
        "goes on where it was interrupted.",
        "CLIPS/ SHEETS/ --data_dir ROOT/",
        "CLIPS/ SHEETS/ --data_dir ROOT/ --clips 1-160 161-190 191-220",
    )
    text = "folder of clips such as videoSRC005_640x360_30_qp_00.264, at any depth"
    needs("clip_dir", metavar="CLIP_DIR", help=text)
    needs("sheet_dir", metavar="SHEET_DIR", help="folder of label sheets such as 640x360_1st.csv")
    computes("--size", type=SIZE, default="640x360", help="which of the sizes (default: %(default)s, the papers')")
    computes("--label", choices=("jnd", "mean"), default="jnd", help="which column of the sheets")
    frames_flag(computes, "1s", "the first of each second")
    _dataset_flags(writes, computes, rare, "clips")
    text = "numbers of the clips in each split, such as 1-160 161-190 191-220, instead of shares"
    computes("--clips", metavar=SPLITS, type=numbers, nargs=3, help=text)

    needs, writes, computes, rare = command(
        "mcl-jci",
        "make a dataset from MCL-JCI's images and label sheets",
        "MCL-JCI's images, its JPEGs at each level, and labels. Its levels are JPEG quality factors (QF), where higher "
        "is better. The same command goes on where it was interrupted.",
        "IMAGES/ SHEETS/ --data_dir ROOT/",
        "IMAGES/ SHEETS/ --data_dir ROOT/ --unit QP --fold 2",
    )
    text = "folder of ImageJND_SRC01.bmp and ImageJND_SRC01_001.jpg, at any depth"
    needs("image_dir", metavar="IMAGE_DIR", help=text)
    needs("sheet_dir", metavar="SHEET_DIR", help="folder of label sheets, which their columns tell apart")
    text = (
        "sur: where the fitted satisfied user ratio reaches a share; quartile, median or mean of the subjects; "
        "stairs: the image's staircase"
    )
    computes("--label", choices=("sur", "quartile", "median", "mean", "stairs"), default="sur", help=text)
    computes("--ratio", type=SHARE, default=0.75, help="the share of satisfied users where the label is sur")
    text = (
        "of the labels: QF as people were asked, or QP of the H.264 intra frame with the nearest PSNR, computed, for "
        "which each image is coded 51 times"
    )
    computes("--unit", choices=("QF", "QP"), default="QF", help=text)
    computes("--fold", type=whole_number(1, 10), default=1, metavar="N", help="test is this fold, valid the next")
    _dataset_flags(writes, computes, rare, "images", None, "instead of folds")

    needs, writes, computes, rare = command(
        "konjnd",
        "make a dataset from KonJND-1k's images and ratings",
        "KonJND-1k's images, their coded images at the level, and labels: JND1 only, in QP of BPG, or in JPEG quality "
        "factors (QF), where higher is better. The same command goes on where it was interrupted.",
        "KONJND/ --data_dir ROOT/",
        "KONJND/ --data_dir ROOT/ --codec JPEG --label mean",
    )
    needs("konjnd_dir", metavar="KONJND_DIR", help="folder of subjective_ratings.csv, source_image/, bpg/ and jpeg/")
    text = "which images: those coded by BPG, labels in QP, or by JPEG, labels in QF"
    computes("--codec", choices=("BPG", "JPEG"), default="BPG", help=text)
    text = "quartile: three quarters of the subjects see no difference before it; or their median or mean"
    computes("--label", choices=("quartile", "median", "mean"), default="quartile", help=text)
    _dataset_flags(writes, computes, rare, "images")

    needs, writes, computes, rare = command(
        "photos",
        "a folder of photographs, with pseudo-labels by VMAF",
        "Crops of photographs as 640x360 images with pseudo-labels, not human ones: the largest QP at which VMAF stays "
        "at or above a threshold, one a level. The same command goes on where it was interrupted.",
        "PHOTOS/ --data_dir ROOT/",
        "PHOTOS/ --data_dir ROOT/ --crops 6 --split 0.8 0.1 0.1 --enlarge",
    )
    needs("photo_dir", metavar="PHOTO_DIR", help="folder of photographs, searched recursively")
    text = "images from one photograph, at most"
    computes("--crops", metavar="N", type=COUNT, default=4, help=text)
    _dataset_flags(writes, computes, rare, "photographs")
    _vmaf_flag(computes)
    computes("--enlarge", action="store_true", help="use photographs smaller than 640x360 too, enlarged")

    needs, writes, computes, rare = command(
        "clips",
        "a folder of videos, with pseudo-labels by VMAF or labels of your own",
        "Frames of videos with pseudo-labels, not human ones: the largest QP at which a frame's VMAF stays at or above "
        "a threshold, one a level; or with levels of your own for each clip. No clip is in two splits. The same "
        "command goes on where it was interrupted.",
        "VIDEOS/ --data_dir ROOT/",
        "VIDEOS/ --data_dir ROOT/ --labels levels.csv --frames scenes+2s",
    )
    needs("clip_dir", metavar="CLIP_DIR", help="folder of videos, searched recursively")
    needs("--labels", metavar="CSV", help="file of the columns name,JND1,JND2,JND3, a clip a row, QP 0 to 51")
    frames_flag(computes, "scenes", "the first of each scene")
    text = (
        "scale and cut frames to this size, or own (default: own for labels of your own, else 640x360, for which the "
        "VMAF thresholds were chosen)"
    )
    computes("--size", type=SIZE_OR_OWN, help=text)
    _dataset_flags(writes, computes, rare, "clips")
    _vmaf_flag(computes)

    needs, writes, computes, rare = command(
        "attention",
        "attention maps of a dataset's images, computed, not measured gaze",
        "ROOT/vatrain/ and ROOT/vavalid/ for the attention decoder: a gray PNG for each image, brighter where people "
        "would probably look, computed by Boolean Map Saliency; not measured gaze. Existing maps are kept, your own "
        "too.",
        "--data_dir ROOT/",
        "--data_dir ROOT/ --splits train valid test",
    )
    needs("--data_dir", metavar="ROOT", required=True, help="folder of the dataset")
    writes("--overwrite", action="store_true", help="replace every map that ends in .png, your own ones too")
    text, default = "for which splits", ["train", "valid"]
    computes("--splits", metavar="SPLIT", nargs="+", choices=SPLITS, default=default, help=text)
    _jobs_flag(rare)

    needs, writes, computes, rare = command(
        "check",
        "whether a dataset is fit to train on",
        "Counts, sizes, labels and the median baseline that a model must beat; images in two splits, levels out of "
        "order, coded images that do not fit. Exit code 1 where something would spoil a training.",
        "ROOT/",
    )
    needs("data_dir", metavar="ROOT", help="folder of the dataset")
    text = "unit of JND-Levels.txt (default: as ROOT/manifest.csv says, else QP)"
    needs("--label_unit", choices=("QP", "QF"), help=text)
    text = "file for the histogram of the labels (default: ROOT/check.png)"
    writes("--picture", metavar="PNG", dest="plot", help=text)
    _jobs_flag(rare)
    return parser


def _vmaf_flag(computes):
    text = "VMAF threshold for each level (default: 92 84 76, for levels roughly where VideoSet's are)"
    computes("--vmaf", metavar=LEVELS, type=float, nargs=3, help=text)


def _dataset_flags(writes, computes, rare, nouns, split=SPLIT_SHARES, remark=""):
    """The flags of every command that makes a dataset."""
    writes("--data_dir", metavar="ROOT", required=True, help="folder of the dataset")
    writes("--overwrite", action="store_true", help="replace what this command made in ROOT with other settings")
    text, default = f"shares that sum to 1, or numbers of {nouns} {remark}".strip(), split and list(split)
    computes("--split", metavar=("TRAIN", "VALID", "TEST"), type=float, nargs=3, default=default, help=text)
    rare("--seed", type=whole_number(0), default=0, metavar="N", help="decides everything that is drawn at random")
    _jobs_flag(rare)


def _jobs_flag(rare):
    text = "how many at a time (default: the cores, %(default)s)"
    rare("--jobs", metavar="N", type=COUNT, default=CORES, help=text)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; return its exit code."""
    flags = vars(build_parser().parse_args(arguments))
    # Not before a command runs: they need pandas and scikit-image.
    from common.data import attention_maps, check, konjnd, mcl_jci, photographs, videos, videoset

    commands = {
        "videoset": videoset.build_videoset,
        "mcl-jci": mcl_jci.build_mcl_jci,
        "konjnd": konjnd.build_konjnd,
        "photos": photographs.build_photos,
        "clips": videos.build_clips,
        "attention": attention_maps.make_maps,
        "check": check.check_dataset,
    }
    return commands[flags.pop("command")](**flags)


if __name__ == "__main__":
    program.run(main)
