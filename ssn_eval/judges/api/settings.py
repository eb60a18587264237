"""The settings of an API judge, from the environment: address, key, time limits, price. The key is stored nowhere else."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ssn_eval.core.errors import MissingInputError, ParamsError

_PACKAGES = ("openai", "tenacity")


@dataclass(frozen=True)
class Settings:
    """The settings of one endpoint."""

    base_url: str = "https://api.openai.com/v1"
    key: str = field(default="", repr=False)
    timeout: float = 60.0
    """Seconds to wait for an answer."""
    concurrency: int = 8
    """Number of requests at the same time."""
    attempts: int = 6
    """Largest number of attempts for one request."""
    pause: float = 1.0
    """Seconds before the second attempt; the wait doubles before each further attempt, with a random part."""
    price: tuple[float, float] | None = None
    """Price of a million input and output tokens; None: unknown."""
    cache: Path = Path()
    """Folder of finished answers."""

    @classmethod
    def from_environment(cls) -> Settings:
        """Read `OPENAI_BASE_URL`, `OPENAI_API_KEY`, `SSN_JUDGE_TIMEOUT`, `_CONCURRENCY`, `_PRICE` and `SSN_CACHE_DIR`.

        Raises:
            ParamsError: a variable has an invalid value.
        """
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(
            base_url=os.environ.get("OPENAI_BASE_URL") or cls.base_url,
            key=os.environ.get("OPENAI_API_KEY", ""),
            timeout=_number("SSN_JUDGE_TIMEOUT", cls.timeout),
            concurrency=int(_number("SSN_JUDGE_CONCURRENCY", cls.concurrency)),
            price=_price(),
            cache=Path(os.environ.get("SSN_CACHE_DIR") or Path(home) / "ssn_eval") / "judges",
        )

    @property
    def host(self) -> str:
        """The host of the endpoint, for messages and artefacts."""
        return urlsplit(self.base_url).hostname or self.base_url

    @property
    def local(self) -> bool:
        """Whether the endpoint is on this machine; then no key is needed."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def check(self) -> None:
        """Check package, key and endpoint, without sending a request.

        Raises:
            MissingInputError: a package or the key is missing, or the endpoint does not answer.
            ParamsError: the base URL is not a URL.
        """
        missing_packages = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing_packages:
            raise MissingInputError(f"API judges need {' and '.join(missing_packages)}: pip install 'ssn-eval[api]'.")
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ParamsError(
                f"OPENAI_BASE_URL={self.base_url!r} is no URL; expected for example http://localhost:8000/v1."
            )
        if not self.key and not self.local:
            raise MissingInputError(
                f"No key for {self.host}: set OPENAI_API_KEY, or OPENAI_BASE_URL to another endpoint."
            )
        if url.scheme in getproxies() and not proxy_bypass(url.hostname):
            return
        try:
            port = url.port or {"http": 80, "https": 443}[url.scheme]
            socket.create_connection((url.hostname, port), timeout=5).close()
        except (OSError, ValueError) as error:
            raise MissingInputError(
                f"The endpoint {self.host} does not answer ({error}); start its server, or correct OPENAI_BASE_URL."
            ) from error


def _number(name: str, default: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise ParamsError(f"{name}={text!r} must be a number above 0.")
    return max(1, round(value)) if isinstance(default, int) else value


def _price() -> tuple[float, float] | None:
    text = os.environ.get("SSN_JUDGE_PRICE")
    if not text:
        return None
    try:
        price_in, price_out = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ParamsError(
            f"SSN_JUDGE_PRICE={text!r} must be two numbers, the price of a million tokens in and out: 2.5,10."
        ) from error
    return price_in, price_out
