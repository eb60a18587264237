"""The embedded default model: lexicon → questions → corpus → tokenizer → training → behaviour."""
