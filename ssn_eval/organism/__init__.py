"""The organism: a small model that is trained from scratch, and the pipeline's embedded default.

Read first: `settings` (its recipe), then `corpus` (what it is trained on) and `training`.
`behaviour` measures what it learnt. It is a test bed, and no evidence about real models.
"""
