"""Names that a pipeline may not have, and the names that are suggested instead."""

import pytest

from augment.transforms.catalogue import _ELSEWHERE, ParamsError, catalogue, fill, unknown_name

CATALOGUE = catalogue()


@pytest.mark.parametrize("name", _ELSEWHERE)
def test_names_of_other_libraries_lead_to_ours(name: str) -> None:
    with pytest.raises(ParamsError, match=f"here it is `{_ELSEWHERE[name]}`"):
        fill(name, {})
    assert name not in CATALOGUE
    assert _ELSEWHERE[name] in CATALOGUE


def test_misspelt_alias_leads_to_the_alias() -> None:
    assert "did you mean `3-Augment`" in unknown_name("3-augment")
