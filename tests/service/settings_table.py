"""Writer of docs/settings.md: ``python -m tests.service.settings_table``."""

from pathlib import Path

from pydantic.fields import FieldInfo

from service.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

_HEAD = """\
# Settings of the service

Each is a variable of the environment; `augment serve --help` shows those that are options as well, which win. Sizes
are in bytes, times in seconds. A refusal names the setting that it comes from. This page is written by `make settings`.

| setting | default | what it is, and where its number comes from |
|---|---|---|
"""


def text() -> str:
    """Return the expected page."""
    rows = [
        f"| `AUGMENT_{name.upper()}` | {_default(info)} | {info.description} |\n"
        for name, info in Settings.model_fields.items()
    ]
    return _HEAD + "".join(rows)


def _default(info: FieldInfo) -> str:
    value = info.default
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int) and value >= 2**10 and value % 2**10 == 0:
        for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if value % size == 0:
                return f"`{value}` ({value // size} {unit})"
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
