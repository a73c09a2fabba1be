"""Entry point of ``python -m augment``, the ``augment`` command. Imports without the packages of any extra."""

import sys

from augment.cli import exit_codes
from augment.errors import MissingExtraError, missing_extras_named


def main() -> None:
    """Run the command. Without the engine, print how to install it and exit as for any bad request."""
    try:
        with missing_extras_named():
            from augment.cli import app  # noqa: PLC0415 - needs the engine
    except MissingExtraError as error:
        print(f"augment: {error}", file=sys.stderr)  # noqa: T201 - typer, which prints errors, may be what is missing
        sys.exit(exit_codes.exit_code(error))
    app.main()


if __name__ == "__main__":
    main()
