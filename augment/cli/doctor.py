"""``augment doctor``: requirements that this machine does not meet."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from augment.cli import exit_codes, output

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    folder: Annotated[
        Path, typer.Argument(parser=output.path, metavar="FOLDER", help="A folder that you mean to write into.")
    ] = Path(),
    *,
    as_json: output.JsonOption = False,
) -> None:
    """Say what this machine lacks, each with its remedy; exit code 5 where something will not work."""
    from augment.doctor import Verdict, examine

    findings = examine(folder)
    failed = any(finding.verdict is Verdict.FAIL for finding in findings)
    if as_json:
        output.write_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        from rich.text import Text

        table = output.table()
        table.add_column("", no_wrap=True)
        table.add_column("what", no_wrap=True)
        table.add_column("found", ratio=1, overflow="fold")
        for finding in findings:
            found = Text(finding.found)
            if finding.remedy:
                found.append(f"\n→ {finding.remedy}", style="bold")
            table.add_row(Text(finding.verdict, style=_STYLES[finding.verdict]), finding.what, found)
        output.console().print(table)
    if failed:
        raise typer.Exit(exit_codes.FINDINGS)
