"""Tiny models of every decoder that transformers can build, to find and prove their sites.

`building` makes the models, `checking` proves a resolved model on its own weights, `__main__` writes `zoo.json` and the page of
architectures: `python -m tests.zoo`.
"""
