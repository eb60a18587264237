"""Training: pairs of prompt and answer go in, an adapter or a whole checkpoint comes out.

Read first: `run` (from a loaded model to a trained one on disk), then `weights` (which weights a method may move).
`trainers` and `gaps` hold the losses, `fit` is one run of a Trainer, `adapters` writes a neuron-LoRA as a PEFT folder.
Pairs are made in the package `prompts`.
"""
