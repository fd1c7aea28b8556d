"""What this machine can do."""

from pathlib import Path

import pytest

from common.core.environment import has_bfloat16


@pytest.mark.parametrize(
    ("cpuinfo", "known"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16\nvmx flags\t: x", True),
        ("flags : fpu amx_bf16 amx_tile", True),
        ("flags : fpu avx2 avx512f avx512_vnni", False),
        ("flags : fpu avx2 avx_vnni", None),
        ("Features\t: fp asimd i8mm bf16 dgh", True),
        ("Features\t: fp asimd", False),
        ("processor : 0", None),
    ],
)
def test_bfloat16_instructions_are_known_where_the_system_lists_them(cpuinfo, known, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda self: cpuinfo)
    assert has_bfloat16() is known
