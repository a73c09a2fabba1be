"""The ``augment`` command: its sub-commands, and how it shows an error.

An error is one line on standard error that ends with the remedy (a pipeline's problems are one line each), never a
traceback; the exit code says whose fault it is. ``--debug`` shows the traceback as well.
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
    rich_markup_mode=None,  # plain help starts in a third of the time, and reads the same in a pipe
)
for name, command, short_help in (
    ("expand", expand.expand, "write copies of every image of a folder"),
    ("split", split.split, "divide a dataset into training, validation and test"),
    ("verify", verify.verify, "compare an expanded folder with its manifest, and render it again"),
    ("preview", preview.preview, "draw a labelled grid of what a pipeline makes of an image or a dataset"),
    ("check", check.check, "check a pipeline or a dataset: every problem with its place"),
    ("stats", stats.stats, "describe a dataset: classes, sizes, boxes, pixels; a report with plots"),
    ("transforms", transforms.list_transforms, "list all transforms, or the parameters of one"),
    ("presets", transforms.list_presets, "list the pipelines that come with the package, or show one"),
    ("doctor", doctor.doctor, "say what this machine lacks, each with its remedy"),
):
    app.command(name, short_help=short_help)(command)
for plugin in entry_points(group="augment.commands"):  # the service adds `serve`; the engine does not know it
    plugin.load()(app)


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer calls it so
    if value:
        from augment.version import version

        output.say(f"augment {version()}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[  # noqa: ARG001 - `run` has taken it out; this is for the help
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")
    ] = False,
) -> None:
    """Augment images: every sample has an address, and its pixels are a pure function of it."""
    if context.invoked_subcommand is None:
        output.say(context.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code."""
    if arguments is None:  # this process is the command's own
        arguments = sys.argv[1:]
        sys.meta_path.insert(0, KeptOut("pandas"))  # which pyarrow would import: a quarter of a second
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would otherwise ask a registry
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # else importing NumPy starts threads that wait in a busy loop
    if "--debug" not in arguments:
        output.silence_libraries()
    output.watch()
    try:
        code = run(arguments)
    except _EndedError as ended:
        name = signal.Signals(ended.number).name
        output.note(f"{name}; the same command goes on" if _goes_on(arguments) else f"ended by {name}")
        code = 128 + ended.number  # as a shell has it
    except ReaderLeftError as left:
        code = left.EXIT_CODE
    sys.exit(code)


def _goes_on(arguments: list[str]) -> bool:
    """Whether the command takes up what an interrupted one did; the others begin again, and leave nothing."""
    return next((word for word in arguments if not word.startswith("-")), None) in {"expand", "split"}


class _EndedError(BaseException):
    """A signal asked the command to end; workers and temporary files go as for Ctrl-C."""

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
            sys.stdout.flush()  # a result that did not arrive is an error of this command
    except Exception as error:  # noqa: BLE001 - the one place where any error becomes an exit code
        if debug:
            traceback.print_exc()
        return _report(error, as_json=as_json)
    if result == exit_codes.INTERRUPTED:
        output.note("interrupted; the same command goes on" if _goes_on(arguments) else "interrupted")
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
        f"{kind}: {' '.join(str(error).split())}; this is a defect of ours: run it again with --debug and report what "
        "it shows"
    )
    return exit_codes.DEFECT, [message], {"kind": kind, "message": message}


def _usage_message(error: TyperException) -> str:
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text.replace(". Did you mean", "; did you mean").removesuffix("?")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "augment"
    return f"{text}; `{command} --help` shows what there is"
