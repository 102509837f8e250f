"""All rows of the fault table, in the order of the page: importing this fills `fault_table.FAULTS`."""

import importlib

from fault_table import FAULTS

SUBJECTS = (
    "camera", "stamps", "calibration", "encodings", "depth", "compressed", "transforms", "model", "questions", "processes",
)  # fmt: skip

for subject in SUBJECTS:
    importlib.import_module(f"faults_of_the_{subject}")

__all__ = ["FAULTS"]
