"""Names that a pipeline may not have, and the ones that they lead to."""

import pytest

from augment.transforms import catalogue

CATALOGUE = catalogue.catalogue()


@pytest.mark.parametrize("name", catalogue._ELSEWHERE)
def test_names_of_other_libraries_lead_to_ours(name: str) -> None:
    with pytest.raises(catalogue.ParamsError, match=f"here it is `{catalogue._ELSEWHERE[name]}`"):
        catalogue.fill(name, {})
    assert name not in CATALOGUE
    assert catalogue._ELSEWHERE[name] in CATALOGUE


def test_misspelt_alias_leads_to_the_alias() -> None:
    assert "did you mean `3-Augment`" in catalogue.unknown_name("3-augment")
