"""Write to the model hub: one commit of named files into the user's own repository.

The token comes only from the environment variable `HF_TOKEN`. A repository that is made here is private unless the user asks
otherwise; an existing one keeps its visibility.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ssn_eval.core.errors import ParamsError, SsnError
from ssn_eval.core.progress import waiting

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN = "HF_TOKEN"
Kind = Literal["model", "dataset"]
_REFUSED = {
    401: "does not know the token",
    403: "does not let this token do that",
    404: "has no such owner or repository",
}


class HubError(SsnError):
    """The hub cannot be reached, or refuses."""


def check(repo: str) -> None:
    """Stop before long work if its result could not be pushed.

    Raises:
        ParamsError: the repository is not OWNER/NAME, or there is no token.
        HubError: the hub cannot be reached, or does not know the token.
    """
    api = _api(repo)
    with _told(repo):
        api.whoami()


def push(repo: str, content: Mapping[str, Path | bytes], kind: Kind, message: str, *, private: bool = True) -> str:
    """Make the repository if it does not exist, and commit files to it.

    Args:
        repo: `OWNER/NAME`.
        content: path in the repository → a local file, or its bytes.
        kind: what the repository is.
        message: of the commit.
        private: whether only the owner can see a repository that is made here.

    Returns:
        The commit's address.

    Raises:
        ParamsError, HubError: as `check`.
    """
    from huggingface_hub import CommitOperationAdd

    api = _api(repo)
    files = [CommitOperationAdd(name, _source(source)) for name, source in sorted(content.items())]
    with _told(repo), waiting(f"pushing {len(files)} files to {repo}"):
        api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        commit = api.create_commit(repo, files, commit_message=message, repo_type=kind)
    return str(commit.commit_url)


def _source(content: Path | bytes) -> str | bytes:
    return str(content) if isinstance(content, Path) else content


def _api(repo: str) -> HfApi:
    """The hub with the environment's token.

    Raises:
        ParamsError: no token, or no repository's name.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        is_full_name = repo.count("/") == 1
    except HFValidationError:
        is_full_name = False
    if not is_full_name:
        raise ParamsError(f"A repository of the hub is named OWNER/NAME, not {repo!r}.")
    token = os.environ.get(TOKEN)
    if not token:
        raise ParamsError(
            f"Pushing needs a token of the hub that may write: set {TOKEN} to it. It is read from the environment alone."
        )
    return HfApi(token=token)


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """Turn an error of the hub into one sentence.

    Raises:
        HubError: says what, and what to do.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise HubError(f"The hub is switched off by HF_HUB_OFFLINE; unset it to push to {repo}.") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = _REFUSED.get(status, f"answered with status {status}")
        raise HubError(
            f"The hub {why}; {repo} was not pushed. Check {TOKEN} and that it may write to {repo}."
        ) from error
    except ValueError as error:  # a card whose front matter the hub does not take
        raise HubError(f"The hub refuses what was to be pushed to {repo}: {' '.join(str(error).split())}") from error
    except Exception as error:
        if not _is_of_the_network(error):
            raise
        first = " ".join(str(error).split()) or type(error).__name__
        raise HubError(
            f"The hub cannot be reached ({first}); {repo} was not pushed. Try again when there is a connection."
        ) from error


def _is_of_the_network(error: Exception) -> bool:
    """Whether an error comes from the HTTP client of huggingface_hub, which differs between its versions."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in (
        "httpx",
        "httpx2",
        "httpcore",
        "requests",
    )
