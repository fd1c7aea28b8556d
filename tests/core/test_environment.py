"""What this machine can do."""

import subprocess
from pathlib import Path

import pytest

from common.core import environment
from common.core.environment import git_commit, has_bfloat16


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


def test_the_commit_says_whether_files_differ_from_it(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", "-C", tmp_path, *identity, *arguments], capture_output=True, check=True).stdout

    monkeypatch.setattr(environment, "PROJECT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None
    git("init")
    assert git_commit() is None
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    git("tag", "-a", "v1", "-m", "a tag is no commit")
    (tmp_path / "other").write_text("not tracked")
    commit = git("rev-parse", "HEAD").decode().strip()
    assert git_commit() == commit
    (tmp_path / "file").write_text("2")
    assert git_commit() == f"{commit}+"
