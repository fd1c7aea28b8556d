"""Where this project lies and what it runs on."""

import platform
import re
import subprocess
from pathlib import Path

from common.core import threads

PROJECT = Path(__file__).resolve().parents[2]
"""The folder of the scripts, of common/ and of pretrained/."""

PRETRAINED = PROJECT / "pretrained"
"""Where weights lie, unless the command line says otherwise."""


SLOW_BFLOAT16 = (
    "warning: precision bfloat16: this processor has no bfloat16 instructions: no faster than float32, and levels move "
    "by up to 0.25 QP"
)


def machine() -> str:
    """Return the name of the processor and how many cores this process may use, for a person."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {threads.CORES} cores"


def has_bfloat16() -> bool | None:
    """Return whether the processor has bfloat16 instructions; None where that is unknown."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    names = re.search(r"^(?:flags|Features)\s*:(.*)", cpuinfo, re.MULTILINE)  # on x86 and on ARM
    flags = set(names[1].split()) if names else set()
    if flags & {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}:
        return True
    # Linux does not list AVX-NE-CONVERT, which some processors with AVX-VNNI have and others have not.
    return False if flags and "avx_vnni" not in flags else None


def git_commit() -> str | None:
    """Return the commit of these programs, with `+` where files differ from it; None where git cannot tell."""
    command = ["git", "-C", PROJECT, "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() if described.returncode == 0 else None
