"""Every file of a project, as text."""

from __future__ import annotations

from importlib.metadata import version

import yaml

from ssn_eval.core import params
from ssn_eval.stages.project.pipeline import HASHES, PLOTS, of_project, packaged
from ssn_eval.stages.project.settings import Choice, text_of

GITIGNORE = f"/artifacts\n/report\n/results\n/claims\n/logs\n/frontier/results\n/{HASHES}\n*.tmp\n"


def texts(choice: Choice) -> dict[str, str]:
    """Name → content of every file; the settings have passed the checks of `dvc repro`.

    Raises:
        ParamsError, UnknownNameError: the languages do not fit the method.
    """
    settings = text_of(choice)
    params.build(params.Params, yaml.safe_load(settings), "params.yaml")
    return {
        "params.yaml": settings,
        "dvc.yaml": of_project(packaged("dvc.yaml"), version("ssn-eval")),
        ".dvcignore": packaged(".dvcignore"),
        ".gitignore": GITIGNORE,
        "README.md": readme(choice),
        **{name: packaged(name) for name in PLOTS},
    }


def readme(choice: Choice) -> str:
    """The README: what the project measures, and the commands that are typed in it."""
    return (
        f"# Safety neurons of {choice.name} in {', '.join(choice.languages)}\n\n"
        "`params.yaml` has the settings, `dvc.yaml` the stages. What has finished is not run again.\n\n"
        "```sh\n"
        "dvc repro -q                  # everything, one line a stage; then open report/index.html\n"
        "dvc exp run -S select.p=1     # one setting changed; commit the project to git first\n"
        "dvc metrics show              # `dvc plots show` draws, `dvc exp show` compares\n"
        "ssn claims                    # again with three seeds: which findings hold?\n"
        "ssn frontier                  # training methods beside each other\n"
        "```\n"
    )
