"""Where the neurons of a model are. Only this package knows the module names of Hugging Face models.

Read first: `layouts` (one row for each architecture), then `sites` (one site of a model) and `resolving` (all sites of a model).
"""
