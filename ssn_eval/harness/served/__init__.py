"""`ssn_vllm`: lm_eval's vLLM model with neuron interventions, SS-Neuron adapters and checkpoints.

Read first: `weights` (which folder and which LoRA serve a condition), then `model` (the class). `library` finds vLLM.
vLLM runs plain weights alone, so a condition is written into weights before the engine starts.
"""
