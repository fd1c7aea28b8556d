"""`make fuzz`: damaged inputs through the commands; seeded, some minutes.

    PYTHONPATH=.:tests python -m fuzz [--seed 1] [--inputs 2500] [--kind "weight files"] [--keep DIR] [--one NUMBER]

A command must end with exit code 0, 1 or 2 within a minute and 4 GB, with one line a fault and no traceback; leave
nothing half written; and pictures must have the pixels that another decoder gives them.  `runner` says how a command
is run without waiting for TensorFlow each time.  Prints a row a kind; the folder of each input that fails is kept.
"""

import argparse
import collections
import random
import shutil
import sys
import tempfile
from pathlib import Path

from fuzz import kinds, runner


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inputs", type=int, default=2500)
    parser.add_argument("--kind", choices=kinds.KINDS, action="append")
    parser.add_argument("--keep", type=Path, help="where the folders of inputs that fail go")
    parser.add_argument("--one", type=int, help="only the command of this number, of one --kind")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    keep = options.keep or folder.with_name(f"{folder.name}-faults")
    made, faults = kinds.Material(folder / "material"), 0
    print(f"{'kind':28} tried  exit 0  exit 1  exit 2  refused  faults")
    for name in options.kind or kinds.KINDS:
        kind = kinds.KINDS[name]
        inputs = kind.alone or 1
        commands = round(options.inputs * (1 if options.kind else kind.share) / inputs)
        counts: collections.Counter[str | int] = collections.Counter({"tried": commands * inputs})
        for number in [options.one] if options.one is not None else range(commands):
            place = folder / f"{name}-{options.seed}-{number}".replace(" ", "_")
            place.mkdir()
            command = kinds.damage(kind, made, place, random.Random(f"{options.seed} {name} {number}"))
            before = runner.files_in(place)
            end = runner.wait(runner.start(command, place), place)
            wrong = runner.faults(end, place, before)
            counts.update({end.code: 1, "faults": bool(wrong), "refused": end.count("error: ") + end.count("refused ")})
            if wrong:
                shutil.copytree(place, keep / place.name, dirs_exist_ok=True, symlinks=True)
                print(f"  {keep / place.name}: {'; '.join(wrong)}", flush=True)
            shutil.rmtree(place)
        faults += counts["faults"]
        columns = {"tried": 5, 0: 6, 1: 6, 2: 6, "refused": 7, "faults": 6}
        print(f"{name:28}", *(f"{counts[column]:{width}} " for column, width in columns.items()), flush=True)
    shutil.rmtree(folder)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
