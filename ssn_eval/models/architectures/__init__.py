"""Where the neurons of a model are: the only place that knows the module names of Hugging Face.

Read first: `layouts` (one row an architecture) and `sites` (one place whose coordinates are neurons).
"""
