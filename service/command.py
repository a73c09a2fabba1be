"""Command ``augment serve``, which the engine finds by its entry point (group ``augment.commands``)."""

from pathlib import Path
from typing import Annotated, Any

import typer

from augment.errors import CallError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", short_help="answer over HTTP: images, datasets, streams, jobs")(serve)


def serve(
    *,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="ADDRESS", help="Address to listen on; 127.0.0.1 by default (AUGMENT_HOST)."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", help="Port; 0 for a free one, 8000 by default (AUGMENT_PORT)."),
    ] = None,
    home: Annotated[
        Path | None, typer.Option("--home", metavar="FOLDER", help="Folder of the service's state (AUGMENT_HOME).")
    ] = None,
    data_root: Annotated[
        list[Path] | None,
        typer.Option(
            "--data-root",
            metavar="FOLDER",
            help="Folder below which datasets may be registered; may be repeated (AUGMENT_DATA_ROOTS).",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Number of processes that render (AUGMENT_WORKERS).")
    ] = None,
) -> None:
    """Serve over HTTP until a signal. All other settings are environment variables: docs/settings.md.

    Keys are set by AUGMENT_API_KEYS only, because every user of the machine can read the arguments of a command.
    """
    import pydantic

    from service import server
    from service.errors import ServiceError
    from service.settings import Settings

    given: dict[str, Any] = {
        "host": host, "port": port, "home": home, "workers": workers, "data_roots": tuple(data_root or ()) or None,
    }  # fmt: skip
    try:
        server.serve(Settings(**{name: value for name, value in given.items() if value is not None}))
    except pydantic.ValidationError as error:
        raise CallError(_settings_message(error.errors(include_url=False))) from error
    except ServiceError as error:
        raise CallError(str(error)) from error


def _settings_message(problems: Any) -> str:
    return "; ".join(
        f"AUGMENT_{str(problem['loc'][0]).upper()} is {problem['input']!r}: {problem['msg']}" for problem in problems
    )
