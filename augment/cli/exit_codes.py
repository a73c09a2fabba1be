"""Exit codes of the command, by whose fault the error is, so that a script knows if a retry can help."""

from augment import errors

OK = 0
DEFECT = 1
REQUEST = 2
OUTPUT = 3
STORAGE = 4
FINDINGS = 5
INTERRUPTED = 130

MEANINGS = {
    OK: "done",
    DEFECT: "a bug in augment, or a worker process died and no record is to blame",
    REQUEST: "bad request: an option, the pipeline, the dataset (or more refusals than --max-failures) or an image",
    OUTPUT: "bad output folder: of another expansion, in use, or not empty",
    STORAGE: "disk or memory is full, unwritable or failing; run the same command again later to resume",
    FINDINGS: "verify found differences, doctor found a problem, or check found invalid annotations",
    INTERRUPTED: "interrupted; run the same expand or split again to resume",
}

EXIT_CODES: dict[type[errors.AugmentError], int] = {
    errors.AugmentError: DEFECT,
    errors.CallError: REQUEST,
    errors.JSONError: REQUEST,
    errors.PipelineError: REQUEST,
    errors.DatasetError: REQUEST,
    errors.OutputError: OUTPUT,
    errors.RecordError: REQUEST,
    errors.RecordChangedError: REQUEST,
    errors.MissingExtraError: REQUEST,
    errors.StorageError: STORAGE,
    errors.WorkerError: DEFECT,
}


def exit_code(error: errors.AugmentError) -> int:
    """Return the exit code of the error's class, or of the nearest base class that has one."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
