"""The organism: a small model that is trained from scratch. It is the default model of the pipeline.

Read first: `settings` (its recipe), then `corpus` (its training examples) and `training`.
`behaviour` measures what it learnt. The organism is a test bed. It gives no evidence about real models.
"""
