"""Find, test and train the cross-lingual shared safety neurons of language models. Importing this package loads nothing else."""
