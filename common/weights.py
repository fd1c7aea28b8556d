"""`python3 -m common.weights fetch|list|verify|convert|cache`: the weight files that came with the papers.

`fetch` downloads the two Zenodo archives and unpacks their weight files; `list` says what is there, for which model and
level, and what is missing; `verify PATH` says which model a weight file fits; `convert SOURCE DESTINATION` writes
weights in another layout, or as a folder for a model hub; `cache` says what `--backend onnxruntime` and `openvino`
exported and kept.

A file is recognised by the shapes of its arrays, in order, so its name does not matter.  Shapes tell neither the levels
of a model apart, nor the four autoencoder files, nor MT_3LJND from MT_3LJND_VA.  The values are not looked at.
"""

import os
from pathlib import Path

from common.cli.flags import form, positive
from common.cli.program import Parser, run
from common.core.environment import PRETRAINED
from common.models import conversion, released
from common.models.registry import LEVELS
from common.prediction import export_cache


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = Parser(prog="python3 -m common.weights", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    folder = {"type": Path, "default": PRETRAINED, "metavar": "F", "help": "the folder of weights"}

    command = commands.add_parser("fetch", help="download the released weights from Zenodo")
    command.add_argument("--folder", **folder)
    records = [archive.record for archive in released.ARCHIVES]
    command.add_argument("--record", type=int, nargs="+", choices=records, help="only these records")
    command.add_argument(
        "--zenodo",
        default=os.environ.get("ZENODO_URL", released.ZENODO),
        metavar="URL",
        help="or a mirror; also $ZENODO_URL",
    )
    command = commands.add_parser("list", help="what is there, and what is missing")
    command.add_argument("--folder", **folder)
    command = commands.add_parser("verify", help="which model a weight file fits")
    command.add_argument("path", type=Path, metavar="PATH", help="a weight file, or a folder to search for them")

    command = commands.add_parser(
        "convert",
        help="write weights in another layout, with the same numbers",
        description="Write weights in another layout, with the same numbers bit for bit.  The source may be in any of "
        "these, and says which model it is, or its shapes and its name do; see pretrained/README.md.",
    )
    command.add_argument("source", type=Path, metavar="SOURCE", help="a weight file, or a folder that convert wrote")
    text = (
        "a name ending in .safetensors, .weights.h5 (Keras's own layout) or .h5 (the released one); without suffix: a "
    )
    text += "folder with a model card, ready for a model hub"
    command.add_argument("destination", type=Path, metavar="DESTINATION", help=text)
    command.add_argument("--model", metavar="NAME", help="such as LAT, MT_3LJND_VA or JND1Reconstruction")
    command.add_argument("--jnd_value", dest="level", choices=LEVELS, help="the level, where one file has one")
    text = "height and width of the network's input; by default the paper's"
    command.add_argument("--input_size", type=positive(int), nargs=2, metavar=("H", "W"), help=text)
    licence = form(r"[a-z0-9][a-z0-9.-]*", "an identifier such as apache-2.0 or cc-by-4.0")
    command.add_argument(
        "--license", dest="licence", type=licence, metavar="ID", help="by default the source's, or unknown"
    )
    command.add_argument("--overwrite", action="store_true", help="replace the destination")

    command = commands.add_parser("cache", help="what --backend onnxruntime or openvino exported and kept")
    command.add_argument("--clear", action="store_true", help="remove it")

    options = parser.parse_args(arguments)
    if options.command == "cache":
        print(export_cache.describe(clear=options.clear))
        return 0
    if options.command == "fetch":
        from common.models import zenodo  # which needs requests, too slow for --help

        return zenodo.fetch(options.folder, options.record, options.zenodo)
    if options.command == "convert":
        named = {name: value for name, value in vars(options).items() if name != "command"}
        conversion.convert(**named)
        return 0
    return released.list_files(options.folder) if options.command == "list" else released.verify(options.path)


if __name__ == "__main__":
    run(main)
