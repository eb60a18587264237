"""Exchange: write neurons and weights for other tools, and read theirs.

Read first: `folders` (what `ssn export` writes), then `baking` (a model with changed weights).
`formats` holds the file formats of other tools. `publishing` and `hub` put things on the model hub.
"""
