"""The pack's update against torch.optim.SGD, and its masking."""

import torch

from trainables.optim.sgd import update_


def test_masked_runs_stand_still():
    params = {"w": torch.ones(2, 3)}
    update_(params, None, {"w": torch.ones(2, 3)}, rate=torch.tensor([0.5, 0.0]),
            momentum=torch.zeros(2), weight_decay=None, nesterov=False)
    assert params["w"].tolist() == [[0.5] * 3, [1.0] * 3]


def test_one_step_by_hand():
    # d = 2 + 0.1·3 = 2.3; v = 0.5·4 + 2.3 = 4.3; nesterov: d + 0.5·4.3 = 4.45; θ = 3 − 0.2·4.45
    params, velocity = {"w": torch.tensor([[3.0]])}, {"w": torch.tensor([[4.0]])}
    update_(params, velocity, {"w": torch.tensor([[2.0]])}, rate=torch.tensor([0.2]),
            momentum=torch.tensor([0.5]), weight_decay=torch.tensor([0.1]), nesterov=True)
    torch.testing.assert_close(params["w"], torch.tensor([[2.11]]))
    torch.testing.assert_close(velocity["w"], torch.tensor([[4.3]]))
