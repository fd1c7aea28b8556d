# PYTHON_ARGCOMPLETE_OK
"""`python3 -m common.weights fetch|list|verify|convert|cache`: the weight files that came with the papers.

`fetch` downloads the two Zenodo archives and unpacks their weight files; `list` says what is there, for which model and
level, and what is missing; `verify PATH` says which model a weight file fits; `convert SOURCE DESTINATION` writes
weights in another layout, or as a folder for a model hub; `cache` says what `--backend onnxruntime` and `openvino`
exported and kept.

A file is recognised by the shapes of its arrays, in order, so its name does not matter.  Shapes tell neither the levels
of a model apart, nor the four autoencoder files, nor MT_3LJND from MT_3LJND_VA.  The values are not compared.
"""

import os
from pathlib import Path

from common.cli.flags import COUNT, form, groups
from common.cli.program import Parser, run
from common.core.environment import PRETRAINED
from common.models import conversion, released
from common.models.registry import LEVELS
from common.prediction import export_cache


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = Parser(["fetch", "list"], prog="python3 -m common.weights", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, text, *examples):
        """Add a command; return the functions that add flags to its groups."""
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", examples=examples)
        return [group.add_argument for group in groups(added)]

    folder = {"type": Path, "default": PRETRAINED, "metavar": "F", "help": "the folder of weights"}
    records = [archive.record for archive in released.ARCHIVES]
    needs, writes, _, rare = command(
        "fetch", "download the released weights from Zenodo", "", f"--record {records[0]} --folder weights/"
    )
    needs("--record", type=int, nargs="+", choices=records, help="only these records (default: all)")
    writes("--folder", **folder)
    zenodo = os.environ.get("ZENODO_URL", released.ZENODO)
    text = "address of Zenodo, or of a mirror; also $ZENODO_URL"
    rare("--zenodo", default=zenodo, metavar="URL", help=text)

    needs, *_ = command("list", "say which weight files are there, and which are missing", "", "--folder weights/")
    needs("--folder", **folder)
    needs, *_ = command("verify", "say which model a weight file fits", "C/BestModelJND1.h5", "weights/")
    needs("path", type=Path, metavar="PATH", help="a weight file, or a folder to search for them")
    needs, writes, _, rare = command(
        "convert",
        "write weights in another layout, with the same numbers bit for bit",
        "C/BestModelJND1.h5 LATJND1.safetensors",
        "C/BestModelJND1.h5 LAT-JND1 --model LAT --jnd_value JND1 --license apache-2.0",
    )
    needs("source", type=Path, metavar="SOURCE", help="a weight file, or a folder that convert wrote")
    text = "the model, such as LAT, MT_3LJND_VA or JND1Reconstruction (default: as the source says, or its shapes)"
    needs("--model", metavar="NAME", help=text)
    text = "the level, where one file has one (default: as the source says, or its name)"
    needs("--jnd_value", dest="level", choices=LEVELS, help=text)
    text = (
        "a name ending in .safetensors, .weights.h5 (Keras's own layout) or .h5 (the released one); without suffix: a "
        "folder with a model card, ready for a model hub"
    )
    writes("destination", type=Path, metavar="DESTINATION", help=text)
    licence = form(r"[a-z0-9][a-z0-9.-]*", "an identifier such as apache-2.0 or cc-by-4.0")
    text = "licence of the weights (default: the source's, or unknown)"
    writes("--license", dest="licence", type=licence, metavar="ID", help=text)
    writes("--overwrite", action="store_true", help="replace the destination")
    text = "height and width of the network's input (default: the paper's)"
    rare("--input_size", type=COUNT, nargs=2, metavar=("H", "W"), help=text)
    text = "say which networks were exported for the backends onnxruntime and openvino, and kept"
    _, writes, *_ = command("cache", text, "", "--clear")
    writes("--clear", action="store_true", help="remove them")

    options = parser.parse_args(arguments)
    chosen = vars(options).pop("command")
    if chosen == "cache":
        print(export_cache.describe(clear=options.clear))
        return 0
    if chosen == "fetch":
        from common.models import zenodo  # which needs requests, too slow for --help

        return zenodo.fetch(options.folder, options.record, options.zenodo)
    if chosen == "convert":
        conversion.convert(**vars(options))
        return 0
    return released.list_files(options.folder) if chosen == "list" else released.verify(options.path)


if __name__ == "__main__":
    run(main)
