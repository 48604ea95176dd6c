"""The one reader of questions: files of every format, directories of data, and the hub's."""

from bertqa._data_files._address import DataAddress
from bertqa._data_files._csv import TAB
from bertqa._data_files._datasets import splits_of
from bertqa._data_files._files import STANDARD_STREAM, binary, import_pyarrow, standard
from bertqa._data_files._opening import Format, Kind, format_of, is_stream, opened, source_of
from bertqa._data_files._parquet import ParquetSource
from bertqa._data_files._records import Record, Source, alike, find, folded
from bertqa._data_files._squad_json import Fields, flattened, names_of
from bertqa._data_files._strict_json import is_deep
from bertqa._data_files._values import as_plain, as_text, python_value

__all__ = [
    "STANDARD_STREAM",
    "TAB",
    "DataAddress",
    "Fields",
    "Format",
    "Kind",
    "ParquetSource",
    "Record",
    "Source",
    "alike",
    "as_plain",
    "as_text",
    "binary",
    "find",
    "flattened",
    "folded",
    "format_of",
    "import_pyarrow",
    "is_deep",
    "is_stream",
    "names_of",
    "opened",
    "python_value",
    "source_of",
    "splits_of",
    "standard",
]
