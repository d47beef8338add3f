"""Records of cells, their checkpoints, and how they are published."""

from repro.records.files import write_order
from repro.records.listing import methods_in, read_records
from repro.records.record import (
    MODEL,
    SCHEMA,
    Record,
    cell_folder,
    check_revision,
    config_of,
    earlier_tests,
    finished,
    other_revision,
    read_record,
    training_folder,
    write_record,
)

__all__ = [
    "MODEL",
    "SCHEMA",
    "Record",
    "cell_folder",
    "check_revision",
    "config_of",
    "earlier_tests",
    "finished",
    "methods_in",
    "other_revision",
    "read_record",
    "read_records",
    "training_folder",
    "write_order",
    "write_record",
]
