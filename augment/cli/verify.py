"""``augment verify``: compare an expanded folder with its manifest and with a new rendering."""

from pathlib import Path
from typing import Annotated

import typer

from augment.cli import exit_codes, expand, options, output

_MISMATCHES_SHOWN = 20


def verify(
    out: Annotated[Path, typer.Argument(parser=output.path, metavar="OUT", help="Folder that `augment expand` wrote.")],
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            parser=output.path,
            metavar="DATA",
            help="Dataset's folder. Default: its path when OUT was written.",
        ),
    ] = None,
    references: options.ReferencesOption = None,
    ignore: options.IgnoreOption = None,
    workers: expand.WorkersOption = None,
    as_json: output.JsonOption = False,
) -> None:
    """Compare every file with the manifest and with a new rendering. The exit code is 5 if anything differs."""
    from augment.expansion.verify import described, verify_expansion

    dataset, named = None, options.reference_folders(references)
    if data is not None:
        dataset = options.scan_dataset(data, described(out).source_format, "leave_out", ignore, as_json=as_json)
    progress = output.StageProgress("verifying", as_json=as_json, failed_are="different")
    with expand.pool(workers) as rendering, progress as bar:
        report = verify_expansion(out, dataset, references=named, workers=rendering, progress=bar.show)
    if as_json:
        output.write_json(
            {
                "output": str(report.out),
                "id": report.id,
                "ok": report.ok,
                "files": report.num_files,
                "size_bytes": report.size_bytes,
                "rendered_again": report.rendered_again,
                "note": report.note,
                "differences": report.num_mismatches,
                "mismatches": [
                    {"path": one.path, "finding": str(one.finding), "detail": one.detail} for one in report.mismatches
                ],
            }
        )
    else:
        for one in report.mismatches[:_MISMATCHES_SHOWN]:
            output.say(f"{one.path}: {one.finding}: {one.detail}" if one.detail else f"{one.path}: {one.finding}")
        if report.num_mismatches > _MISMATCHES_SHOWN:
            output.say(f"and {report.num_mismatches - _MISMATCHES_SHOWN:,} more")
        how = "compared and rendered again" if report.rendered_again else "compared with the manifest"
        verdict = "no differences" if report.ok else output.count(report.num_mismatches, "difference")
        output.say(f"{out}: {output.count(report.num_files, 'file')} {how}: {verdict}")
        if report.note:
            output.note(f"notice: {report.note}")
    if not report.ok:
        raise typer.Exit(exit_codes.FINDINGS)
