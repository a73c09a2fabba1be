"""The ``augment`` command: its sub-commands and its error messages.

An error is one line on standard error that ends with the remedy (a pipeline's problems are one line each), never a
traceback. The exit code says whose fault it is. ``--debug`` also shows the traceback.
"""

import os
import signal
import sys
import traceback
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from augment import errors
from augment.cli import check, doctor, exit_codes, expand, output, preview, split, stats, transforms, verify
from augment.cli.output import ReaderLeftError
from augment.workers.optional_imports import KeptOut

_EPILOG = "\n".join(["\b", "Exit codes:", *(f"{code:>5}  {meaning}" for code, meaning in exit_codes.MEANINGS.items())])

app = typer.Typer(
    name="augment",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=_EPILOG,
    rich_markup_mode=None,  # plain help starts in a third of the time and is the same in a pipe
)
for name, command, short_help in (
    ("expand", expand.expand, "write copies of every image of a folder"),
    ("split", split.split, "divide a dataset into training, validation and test"),
    ("verify", verify.verify, "compare an expanded folder with its manifest and with a new rendering"),
    ("preview", preview.preview, "draw a labelled grid of augmented images"),
    ("check", check.check, "list all problems of a pipeline or a dataset"),
    ("stats", stats.stats, "describe a dataset: classes, sizes, boxes, pixels, as a table or a report with plots"),
    ("transforms", transforms.list_transforms, "list all transforms, or the parameters of one"),
    ("presets", transforms.list_presets, "list the preset pipelines, or show one"),
    ("doctor", doctor.doctor, "check that this machine has all that augment needs"),
):
    app.command(name, short_help=short_help)(command)
for plugin in entry_points(group="augment.commands"):  # the service adds `serve`; the engine does not import it
    plugin.load()(app)


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer passes it by position
    if value:
        from augment.version import version

        output.say(f"augment {version()}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[  # noqa: ARG001 - `run` handles it; declared for the help
        bool, typer.Option("--debug", help="Show the traceback of an error. Allowed in any position.")
    ] = False,
) -> None:
    """Augment images: every sample has an address, and its pixels are a pure function of it."""
    if context.invoked_subcommand is None:
        output.say(context.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code."""
    if arguments is None:  # not called from another program
        arguments = sys.argv[1:]
        sys.meta_path.insert(0, KeptOut("pandas"))  # pyarrow would import it, which takes 0.25 s
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks a registry for a newer version
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # else NumPy starts threads that wait in a busy loop
    if "--debug" not in arguments:
        output.silence_libraries()
    output.watch()
    try:
        code = run(arguments)
    except _EndedError as ended:
        name = signal.Signals(ended.number).name
        output.note(f"{name}; run the same command again to resume" if _is_resumable(arguments) else f"ended by {name}")
        code = 128 + ended.number  # as shells report it
    except ReaderLeftError as left:
        code = left.EXIT_CODE
    sys.exit(code)


def _is_resumable(arguments: list[str]) -> bool:
    """True if the command resumes an interrupted run; the others leave nothing behind and start over."""
    return next((word for word in arguments if not word.startswith("-")), None) in {"expand", "split"}


class _EndedError(BaseException):
    """SIGTERM or SIGHUP as an exception, so that workers and temporary files are removed as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def _end(number: int, _frame: object) -> None:
    raise _EndedError(number)


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    debug, as_json = "--debug" in arguments, "--json" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        with errors.missing_extras_named():
            result = typer.main.get_command(app).main(arguments, prog_name="augment", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # a failed write is an error of this command
    except Exception as error:  # noqa: BLE001 - the one place where any error becomes an exit code
        if debug:
            traceback.print_exc()
        return _report(error, as_json=as_json)
    if result == exit_codes.INTERRUPTED:
        output.note("interrupted; run the same command again to resume" if _is_resumable(arguments) else "interrupted")
    return result if isinstance(result, int) else exit_codes.OK


def _report(error: Exception, *, as_json: bool) -> int:
    code, lines, document = _describe(error)
    if as_json:
        try:
            output.write_json({"error": document | {"exit_code": code}})
        except errors.StorageError as full:
            lines.append(str(full))
    for line in lines:
        typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
        typer.echo(line, err=True)
    return code


def _describe(error: Exception) -> tuple[int, list[str], dict[str, Any]]:
    kind = type(error).__name__
    if isinstance(error, errors.PipelineError):
        problems = [{"loc": problem.loc, "line": problem.line, "msg": problem.msg} for problem in error.problems]
        lines = [str(problem) for problem in error.problems]
        return exit_codes.REQUEST, lines, {"kind": kind, "message": str(error), "problems": problems}
    if isinstance(error, errors.AugmentError):
        return exit_codes.exit_code(error), [str(error)], {"kind": kind, "message": str(error)}
    if isinstance(error, TyperException):
        message = _usage_message(error)
        return exit_codes.REQUEST, [message], {"kind": "UsageError", "message": message}
    message = (
        f"{kind}: {' '.join(str(error).split())}; this is a bug in augment: run it again with --debug and report the "
        "output"
    )
    return exit_codes.DEFECT, [message], {"kind": kind, "message": message}


def _usage_message(error: TyperException) -> str:
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text.replace(". Did you mean", "; did you mean").removesuffix("?")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "augment"
    return f"{text}; see `{command} --help`"
