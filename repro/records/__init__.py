"""Records of cells, their checkpoints, and how they are published."""

from repro.records.files import MODEL, write_order
from repro.records.folders import cell_folder, training_folder
from repro.records.listing import methods_in, read_records
from repro.records.record import SCHEMA, earlier_tests, finished, read_record, write_record
from repro.records.revisions import check_revision, other_revision
from repro.records.tested_cell import Record, config_of

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
