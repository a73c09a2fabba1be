"""``GET /version``: the replica and its engine."""

from pathlib import Path

from augment import engine
from tests.service.folders_for_tests import Run


def test_version_tells_the_replica_and_its_engine(run: Run, tmp_path: Path) -> None:
    first, other = run(home=tmp_path / "a"), run(home=tmp_path / "b")
    told = first.get("/version").json()
    assert told["engine"] == engine.engine_id()
    assert told["replica"] == first.app.state.augment.home.replica_id  # type: ignore[attr-defined]
    assert told["replica"] != other.get("/version").json()["replica"]


def test_a_replica_keeps_its_id_through_a_restart(run: Run, tmp_path: Path) -> None:
    first = run(home=tmp_path / "home")
    replica = first.get("/version").json()["replica"]
    first.__exit__()
    assert run(home=tmp_path / "home").get("/version").json()["replica"] == replica
