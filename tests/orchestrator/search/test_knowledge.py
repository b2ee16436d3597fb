"""Which runs of other sweeps are of the same data."""

from orchestrator.planner import contents_of, make_plan
from orchestrator.search import knowledge, searching
from orchestrator.spec import load_spec
from tests.orchestrator.specs import tiny


def test_data_of_the_same_name_and_another_content_are_not_known(tmp_path, monkeypatch):
    """With several sizes in the space, too: each row's content is compared at its own size."""
    plan = make_plan(load_spec(tiny(tmp_path, train={"epochs": 1, "batch_size": 10},
                                    sweep={"search": {
        "sampler": "random", "runs": 4, "objectives": {"test_accuracy": "maximize"},
        "space": {"lr": {"log": [0.01, 1.0]}, "train_size": [40, 80]}}}), []))
    contents = contents_of(plan.spec, [40, 80], plan.data)
    same = [{"config_data_train_size": n, "data_sha256": contents[n]} for n in (40, 80)]
    other = [{"config_data_train_size": 40, "data_sha256": "0" * 64},
             {"config_data_train_size": 80, "data_sha256": "f" * 64},
             {"config_data_train_size": 10**9, "data_sha256": contents[80]}]
    monkeypatch.setattr(knowledge, "rows_of", lambda _: same + other)
    assert searching._elsewhere(str(tmp_path), plan) == same
