"""Files: whole or not at all, portable names, sentences; and every name in this repository can be checked out on Windows."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError


def test_an_exception_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "a" / "x.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert files.read_json(path, "x") == {"old": 1}
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(RuntimeError), files.atomic(tmp_path / "a" / "folder") as temporary:
        temporary.mkdir()
        raise RuntimeError
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    dead, alive = int(done.stdout), os.getppid()
    for process in (dead, alive):
        (tmp_path / f".x.json.{process}.tmp").write_text("half")
    (tmp_path / f".y.json.{dead}.tmp").write_text("another file's")
    files.write_text(tmp_path / "x.json", "{}")
    assert {p.name for p in tmp_path.iterdir()} == {"x.json", f".x.json.{alive}.tmp", f".y.json.{dead}.tmp"}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 52544 vs 52496"),
    ],
)
def test_a_full_disk_is_one_sentence_that_names_the_file(tmp_path, error):
    with pytest.raises(files.DiskFullError, match="The disk is full: .*x.json"), files.atomic(tmp_path / "x.json"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(PermissionError), files.atomic(tmp_path / "x.json"):
        raise PermissionError(errno.EACCES, "no")


def test_portable_names():
    for name in ("ss.json", "th.harmful.safetensors", ".work-th", "ss_lr.random_0", "console", "nul2", "ทดสอบ"):
        assert files.is_portable(name), name
    for name in (
        "",
        ".",
        "..",
        "a/b",
        "a\\b",
        "scale:2",
        "a*",
        "what?",
        "con",
        "CON.json",
        "aux.txt",
        "com1",
        "x.",
        "x ",
        "a\0",
    ):
        assert not files.is_portable(name), name


def test_every_name_in_this_repository_is_portable(root):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    names = [n for n in listed.stdout.split("\0") if n] or [
        p.relative_to(root).as_posix() for top in ("ssn_eval", "tasks", "tests") for p in (root / top).rglob("*")
    ]
    assert len(names) > 200
    for name in names:
        assert all(files.is_portable(part) for part in Path(name).parts), name
    assert len({n.lower() for n in names}) == len(names)


def test_reading_says_what_is_wrong(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    with pytest.raises(MissingInputError, match="expected a set"):
        files.read_json(path, "a set")
    for content, said in (
        (b"\xff", "UTF-8"),
        (b"{", "not valid JSON"),
        (b"1" * 5000, "not valid JSON"),
        (b"[" * 99999, "JSON"),
    ):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=said):
            files.read_json(path, "a set")
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert files.read_json(path, "a set") == {}
    monkeypatch.setattr(files, "LARGEST", 10)
    path.write_bytes(b"[1,2,3,4,5,6]")
    with pytest.raises(FormatError, match="MiB or more"):
        files.read_json(path, "a set")
    packed = tmp_path / "x.gz"
    packed.write_bytes(b"no gzip")
    with pytest.raises(FormatError, match="gzip"):
        files.read_text(packed, "text")


def test_a_file_is_not_written_over_a_folder_and_the_message_names_what_was_given(tmp_path):
    (tmp_path / "o").mkdir()
    with pytest.raises(ParamsError, match=f"^{tmp_path}/o is a folder, but a file is written here"):
        files.write_text(tmp_path / "o", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["o"] and not list((tmp_path / "o").iterdir())


def test_a_system_error_names_the_file_and_not_the_temporary_one(tmp_path):
    with pytest.raises(OSError) as error, files.atomic(tmp_path / "x.json") as temporary:
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))
    assert files.sentence(error.value) == f"{tmp_path}/x.json cannot be used: Permission denied."


@pytest.mark.parametrize("text", ['"\\ud83d"', '{"a": ["\\uDE00 x"]}', '{"\\ud83d\\ud83d": 1}'])
def test_half_of_a_surrogate_pair_is_no_text(text):
    with pytest.raises(FormatError, match="a line is not a prompt: it holds half of a surrogate pair"):
        files.parse_json(text, "a line", "a prompt")
    assert files.parse_json('"\\ud83d\\ude00 \\\\ud83d"', "a line", "a prompt") == "😀 \\ud83d"
