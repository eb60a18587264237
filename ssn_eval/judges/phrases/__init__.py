"""Refusal phrases as data, one JSON file per language; `ssn_eval.judges.rules` says how they are written and read."""
