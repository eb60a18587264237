"""Shared by the readers of other tools' files: the result, text, whole numbers, site names."""

from __future__ import annotations

import io
import zipfile
from typing import NamedTuple

from ssn_eval.core.errors import FormatError, UnknownNameError
from ssn_eval.core.neurons import SITES, NeuronSet, parse_key, site_key

MOST = 10_000_000
"""neurons in one file; the largest models have fewer"""
_LIMIT = 2**31
"""No site has so many neurons; far larger numbers cannot even be printed."""


class Found(NamedTuple):
    """The content of another tool's file."""

    neurons: NeuronSet
    notes: tuple[str, ...] = ()
    """what a reader should know of the translation, in sentences"""


def text(data: bytes, kind: str, name: str) -> str:
    """UTF-8 text, with or without a byte order mark.

    Raises:
        FormatError: it is none.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{name} is not {kind}: it is no UTF-8 text.") from error


def refuse_bomb(data: bytes, name: str) -> None:
    """Stop before a zip archive is unpacked whose content is far larger than the file.

    Raises:
        FormatError: its content is that large, or its size is not known.
    """
    try:
        if not zipfile.is_zipfile(io.BytesIO(data)):
            return
        inside = sum(member.file_size for member in zipfile.ZipFile(io.BytesIO(data)).infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError) as error:
        raise FormatError(f"{name} is a damaged archive: {error}.") from error
    if inside > max(20 * len(data), 1 << 20):
        raise FormatError(f"{name} unpacks to {inside >> 20} MiB from {len(data) >> 10} KiB; it is not read.")


def whole(value: object, kind: str, name: str) -> int:
    """A layer or an index.

    Raises:
        FormatError: not a whole number from 0 on.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LIMIT:
        value_text = repr(value)[:40] if not isinstance(value, int) or abs(value) < 10**30 else "a huge number"
        raise FormatError(f"{name}: {kind} must be a whole number from 0 on, not {value_text}.")
    return value


def site(matrix: object, aliases: dict[str, str], name: str) -> str:
    """The site of a matrix name (by `aliases`) or of a site's own name.

    Raises:
        UnknownNameError: no site has this name; the message names the file.
    """
    site_name = aliases.get(matrix, matrix) if isinstance(matrix, str) else ""
    try:
        return parse_key(site_key(0, site_name))[1]
    except FormatError:
        kind = "matrix" if aliases else "site"
        raise UnknownNameError(f"{kind} in {name}", matrix, {*SITES, *aliases}) from None
