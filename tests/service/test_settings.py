from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings
from tests.service import settings_table


def test_settings_are_documented_and_the_page_is_current() -> None:
    assert settings_table.PAGE.read_text(encoding="utf-8") == settings_table.text(), "run `make settings`"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_setting_says_what_it_is(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description is not None
    assert description.endswith(".")
    assert "|" not in description, "it stands in a table"


def test_settings_come_from_the_environment_and_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGMENT_PORT", "9000")
    monkeypatch.setenv("AUGMENT_DATA_ROOTS", "/data:relative:")
    monkeypatch.setenv("AUGMENT_API_KEYS", "a, b,")
    monkeypatch.setenv("AUGMENT_WORKERS", "")
    settings = Settings()
    assert settings.port == 9000
    assert settings.data_roots == (Path("/data"), Path.cwd() / "relative")
    assert settings.api_keys == ("a", "b")
    assert settings.workers is None, "an empty variable is none"
    assert Settings(port=1).port == 1


def test_keys_do_not_show() -> None:
    assert "secret" not in repr(Settings(api_keys="secret"))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]  # mypy knows it too


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", "70000"), ("workers", "0"), ("max_pixels", "0"), ("record_timeout_s", "0"), ("log_level", "loud")],
)
def test_a_setting_out_of_range_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"AUGMENT_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        Settings()
