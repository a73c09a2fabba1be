"""Exit codes of the command: whose fault it was, so that a script can decide what to do next."""

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
    DEFECT: "a defect of ours, or a worker process that died and no record can be blamed",
    REQUEST: "the request: an option, the pipeline, the dataset (more refused than --max-failures, too) or an image",
    OUTPUT: "the output folder is refused: another expansion's, in use, or not empty",
    STORAGE: "the disk or the memory: full, unwritable or failing; the same command goes on later",
    FINDINGS: "verify found differences, doctor what will not work, or check annotations that cannot be true",
    INTERRUPTED: "interrupted; the same expand or split goes on",
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
    """The exit code of an error: that of its class, or of the nearest class above it."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
