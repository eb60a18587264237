"""Refusal phrases as data, one JSON file per language.

Read first: `ssn_eval.judges.rules` for the lists in a file, and `ssn_eval.judges.notation` for the notation of a phrase.
This package holds no code.
"""
