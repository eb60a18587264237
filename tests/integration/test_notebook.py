"""The notebook: no output stored, every cell is Python, and from install to report it runs on a tiny model."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path

import models_on_disk
import pytest
from documents import NOTEBOOK

from ssn_eval.organism import lexicon, questions

TINY = """
import pathlib
SOURCE, MODEL, HR, LANG, HARMFUL, HARMLESS = "", "model", "en", "th", "harmful.jsonl", "harmless.jsonl"
TASKS = "organism_safety_en,organism_safety_th,organism_harmless_en,organism_harmless_th"
PROMPTS, DOCUMENTS, P, STEPS, BATCH = 4, 1, 50, 1, 4

def strictly(command, shell=get_ipython().system):
    shell(command)
    assert get_ipython().user_ns["_exit_code"] == 0, command

get_ipython().system = strictly
"""


def cells() -> list[dict]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_no_output_is_stored():
    for cell in cells():
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_every_cell_is_python_and_every_parameter_is_used():
    code = [("".join(c["source"]), c["metadata"].get("tags", [])) for c in cells() if c["cell_type"] == "code"]
    for source, _ in code:
        plain = "\n".join(
            line if not line.strip().startswith(("!", "%")) else line[: len(line) - len(line.lstrip())] + "pass"
            for line in source.splitlines()
        )
        ast.parse(plain)
    (parameters,) = (source for source, tags in code if "parameters" in tags)
    names = {n.id for n in ast.walk(ast.parse(parameters)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    rest = "\n".join(source for source, tags in code if "parameters" not in tags)
    assert names and all(name in rest for name in names)
    assert names <= {n.id for n in ast.walk(ast.parse(TINY)) if isinstance(n, ast.Name)}


@pytest.mark.slow
def test_it_runs_on_a_tiny_model(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    models_on_disk.llama(tmp_path / "model", hidden=64, positions=1024)
    for label in ("harmful", "harmless"):
        rows = [
            {"id": item.id, "lang": lang, "label": label, "prompt": item.prompt}
            for lang in ("en", "th")
            for item in questions.items(lexicon.load(), lang, label, "heldout")[:6]
        ]
        (tmp_path / f"{label}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    book = nbformat.read(NOTEBOOK, as_version=4)
    book.cells = [c for c in book.cells if not {"install", "data"} & set(c.metadata.get("tags", []))]
    next(c for c in book.cells if "parameters" in c.metadata.get("tags", [])).source = TINY
    done = NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert (tmp_path / "hardened" / "README.md").is_file()
    drawn = [o for c in done.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(drawn) == 1
