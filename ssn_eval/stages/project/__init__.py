"""A project of the user's own, outside this repository: what `ssn init` writes, and the installed package as its dependency.

Read first: `pipeline` (this repository's `dvc.yaml`, rewritten for a project), then `settings` (its `params.yaml`), then
`creation` (the folder with git and DVC).
"""
