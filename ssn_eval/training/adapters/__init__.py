"""Neuron-LoRA adapters: a set of neurons as an ordinary PEFT LoRA.

Read first: `neuron_lora` (how it is built and merged). `folder` writes and reads PEFT's folder, `uniform` pads to one rank.
"""
