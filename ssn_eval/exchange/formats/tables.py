"""Neurons as a table of the columns layer, site and index: csv (which `store` writes), and parquet with the same columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from ssn_eval.core.errors import FormatError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.exchange.formats.reading import MOST, Found, site, text, whole

COLUMNS = ("layer", "site", "index")
_NAME = 100
"""bytes of a site's name, at most"""


def dump_parquet(neurons: NeuronSet) -> bytes:
    """One row a neuron: layer int32, site string, index int64."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("layer", pa.int32()), ("site", pa.string()), ("index", pa.int64())])
    rows = [dict(zip(COLUMNS, neuron, strict=True)) for neuron in neurons]
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()


def parse_csv(data: bytes, name: str) -> Found:
    """Read what `ssn export --format csv` writes, or any csv with these columns.

    Raises:
        FormatError: a column is missing, or a cell is no whole number.
        UnknownNameError: an unknown site.
    """
    try:
        reader = csv.DictReader(io.StringIO(text(data, "csv", name), newline=""), strict=True)
        _refuse_missing(reader.fieldnames or (), name)
        rows = [tuple(row[column] for column in COLUMNS) for row in reader]
    except csv.Error as error:
        raise FormatError(f"{name} is no csv: {error}.") from error
    return _found(((_number(layer), site_name, _number(index)) for layer, site_name, index in rows), name)


def parse_parquet(data: bytes, name: str) -> Found:
    """Read what `dump_parquet` writes, or any parquet file with these columns.

    Raises:
        FormatError: it is no parquet file, a column is missing, or a cell is no whole number.
        UnknownNameError: an unknown site.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # one copy of every distinct name: a few bytes can stand for gigabytes of repeated text
        file = parquet.ParquetFile(io.BytesIO(data), read_dictionary=["site"])
        _refuse_missing(file.schema_arrow.names, name)
        if file.metadata.num_rows > MOST:
            raise FormatError(f"{name} holds {file.metadata.num_rows} rows, more than any model has neurons.")
        table = file.read(columns=list(COLUMNS))
        for chunk in table["site"].chunks:
            names = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
            if names.nbytes > _NAME * max(len(names), 8):
                raise FormatError(f"{name} has sites with names of more than {_NAME} letters.")
        columns = table.to_pydict()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise FormatError(f"{name} is damaged or no parquet file.") from error
    return _found(zip(*(columns[column] for column in COLUMNS), strict=True), name)


def _found(rows: Iterable[tuple[object, object, object]], name: str) -> Found:
    triples = (
        (whole(layer, "layer", name), site(site_name, {}, name), whole(i, "index", name))
        for layer, site_name, i in rows
    )
    return Found(NeuronSet.of(triples))


def _number(cell: str | None) -> object:
    """A csv cell as a number if it is one; `whole` refuses the others."""
    return int(cell) if cell and len(cell) < 10 and cell.isascii() and cell.isdigit() else cell


def _refuse_missing(names: Iterable[str], name: str) -> None:
    present = list(names)
    missing = [column for column in COLUMNS if present.count(column) != 1]
    if missing:
        raise FormatError(
            f"{name} must have each of the columns {', '.join(COLUMNS)} once; look at {', '.join(missing)}."
        )
