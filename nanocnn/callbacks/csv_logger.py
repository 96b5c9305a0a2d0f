"""`CSVLogger`: the numbers of each epoch, as a line of a file.

Source: keras/src/callbacks/csv_logger.py.
"""

import csv
from pathlib import Path
from typing import Any

from ..common import processes
from ..common.files import check_writable, path_name
from ..common.validate import flag
from .callback import Callback, Logs


class CSVLogger(Callback):
    """Writes a line after each epoch to the file `filename`: its number, from 0, then the logs.

    The columns are those of the first epoch, by name, and "val_" columns of "NA" where nothing is
    validated, as in Keras. `separator`: one character. `append`: go on with a file that is there,
    as when training resumes. The file is closed after each line. Of several processes (MPI) the
    first one writes. OSError before the first step for a file that cannot be written.
    """

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False) -> None:
        self.filename = path_name(filename, "CSVLogger: filename")
        printable = isinstance(separator, str) and (separator.isprintable() or separator == "\t")
        if not printable or len(separator) != 1 or separator == '"':
            raise ValueError(f"CSVLogger: separator={separator!r:.80}, expected one character")
        self.separator, self.append = str(separator), flag(append, "CSVLogger: append")
        self.keys: list[str] = []

    def check_before_training(self, before: Logs, after: Logs) -> None:
        if processes.first:
            check_writable(self.filename)

    def on_train_begin(self, logs: Any = None) -> None:
        self.keys = []
        if processes.first:
            Path(self.filename).parent.mkdir(parents=True, exist_ok=True)
            open(self.filename, "a" if self.append else "w").close()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self.keys:
            self.keys = sorted(logs)
            if not any(key.startswith("val_") for key in logs):
                self.keys += [f"val_{key}" for key in self.keys]
        if processes.first:
            with open(self.filename, "a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, delimiter=self.separator)
                if file.tell() == 0:
                    writer.writerow(["epoch", *self.keys])
                writer.writerow([epoch, *(logs.get(key, "NA") for key in self.keys)])
