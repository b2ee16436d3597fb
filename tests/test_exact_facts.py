"""The facts that need no experiment, through the real trainer and the real monitors, in float64.

Each has a closed form; the formulas and where they come from are in the tables. Facts that a
module's own tests hold are named in ELSEWHERE.
"""

from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from tests import quadratics
from tests.trainables.runs import blobs, config, pack_of
from trainables.datasets import load, resolve
from trainables.monitors import find
from trainables.probe import Probe
from trainables.sampling import epoch_indices
from trainables.step import update

HERE = Path(__file__).parent
# (fact, source, the test that holds it)
ELSEWHERE = [
    ("the two-batch noise scale is unbiased", "McCandlish et al. 2018, App. A.1",
     "tests/trainables/quantities/test_noisescale.py::test_two_batch_form"),
    ("the noise scale's parts are unbiased on a frozen net", "McCandlish et al. 2018, App. A.1",
     "tests/trainables/monitors/test_gradient_noise.py::"
     "test_estimates_are_unbiased_over_partitions_of_a_frozen_net"),
    ("a cut of dimension d meets an n-wedge iff d + n >= D", "Fort & Jastrzebski 2019, section 3",
     "tests/trainables/landscape/test_wedge.py::test_thresholds_are_D_minus_n"),
    ("on a quadratic with C = H: (eta/2S) sum of lambda/(2 - eta lambda), not (eta/4S) Tr H",
     "Jastrzebski et al. 2017", "tests/trainables/landscape/test_quadratic.py::"
     "test_the_excess_loss_is_the_exact_one_and_not_the_sdes"),
    ("psi^2 grows by (1 - eta lambda)^2 + s^2 eta^2 (N - S)/(S (N - 1))",
     "Jastrzebski et al. 2020, section 3", "tests/trainables/landscape/test_break_even.py::"
     "test_growth_and_break_even_are_the_predicted_ones"),
    ("the two-batch estimators by either rule of drawing", "McCandlish et al. 2018, App. A.1",
     "tests/trainables/landscape/test_noise_estimators.py::"
     "test_unbiased_over_every_batch_there_is"),
    ("normalised sharpness does not see a rescaling of ReLU layers", "Dinh et al. 2017",
     "tests/trainables/monitors/test_spectrum.py::"
     "test_rescaled_relu_layers_leave_the_normalized_sharpness_as_it_is"),
    ("a step along e_1 on a quadratic: -gamma eta a + gamma^2 eta^2 lambda (a + s^2)/2",
     "Jastrzebski et al. 2019, 4.1",
     "tests/trainables/monitors/test_step_geometry.py::test_a_quadratic_has_the_closed_form"),
]


@pytest.mark.parametrize(("fact", "source", "where"), ELSEWHERE, ids=[e[0] for e in ELSEWHERE])
def test_facts_held_elsewhere_are_held_there(fact, source, where):
    file, _, name = where.partition("::")
    assert f"\ndef {name}(" in (HERE.parent / file).read_text()


def probe_of(configs, data, base_dir=HERE):
    pack = quadratics.pack_of(configs, data, base_dir)
    return Probe(pack, pack.init(), slice(0, len(configs)))


def measured(name, probe, **options):
    """The columns of one of our monitors, as if it were the sweep's only one."""
    monitor = find(name, HERE)
    resolved = monitor.resolve(options)
    probe.pack.measure["monitors"] = [(name, resolved)]
    return monitor.measure(probe, resolved)


def advanced(pack, steps):
    """Its state after that many updates."""
    state = pack.init()
    for _ in range(steps):
        update(pack, state)
    return state


# --- The stationary excess loss of SGD on a quadratic (Three Factors, v3; exact in discrete time)

CURVATURES = np.linspace(0.1, 4, 20)
SIZE, RATES, SEEDS, BURN_IN, STEPS = 4, (0.05, 0.2, 0.4), 128, 500, 2000


def noisy_bowl(curvatures, scales):
    """Minima b_n/a of Hadamard signs: mean 0; gradient covariance exactly diag(scales)."""
    signs = scipy.linalg.hadamard(32)[:, 1:1 + len(curvatures)].astype(np.float64)
    signs = np.tile(signs, (32, 1))  # the same covariance; longer epochs
    roots = np.broadcast_to(np.sqrt(curvatures), signs.shape)
    return quadratics.examples(roots, signs * np.sqrt(scales / curvatures))


# (why, C_ii, momentum, what the SDE's (η/4S) Tr H says, less 1)
BOWLS = [
    ("C = H: E[dL] = eta/(2S) sum lambda/(2 - eta lambda)", CURVATURES, 0.0,
     (-0.07, -0.29, -0.62)),
    ("any C: E[dL] = eta/(2S) sum C_ii/(2 - eta lambda)",
     CURVATURES * np.tile([3, 1 / 3], 10), 0.0, None),
    ("momentum b: at small eta as eta/(1 - b)", CURVATURES, 0.5, None),
]


def stationary_loss(rate, momentum, scales):
    """η/(2S) Σ C_ii (1 + β)/((1 − β)(2(1 + β) − ηλ_i)); at β = 0 the plain formula."""
    b = momentum
    return rate / (2 * SIZE) * (
        scales * (1 + b) / ((1 - b) * (2 * (1 + b) - rate * CURVATURES))).sum()


@pytest.mark.parametrize(("why", "scales", "momentum", "sde"), BOWLS,
                         ids=[b[0].partition(":")[0] for b in BOWLS])
def test_the_stationary_excess_loss_of_sgd(why, scales, momentum, sde):
    """Within 1 %, time average over 2000 steps of 128 seeds; sampling with replacement: C/S."""
    data = noisy_bowl(CURVATURES, scales)
    configs = [quadratics.run(start=0.0, seed=s, lr=rate, batch_size=SIZE, steps=BURN_IN + STEPS,
                              sampling="with_replacement", momentum=momentum)
               for rate in RATES for s in range(SEEDS)]
    pack = quadratics.pack_of(configs, data, HERE)
    probe = Probe(pack, pack.init(), slice(0, 1))
    noise = measured("gradient_noise", probe, batches=1024, hessian_share=0)
    spectrum = measured("spectrum", probe, k=20, tolerance=1e-9)
    covariance, curvatures = noise["gradient_covariance"][0], spectrum["hessian"][0]
    assert (noise["k_batches"].item(), noise["k_batch_size"].item()) == (1024, 1)
    ends = torch.tensor(np.sort(scales)[::-1].copy())
    torch.testing.assert_close(covariance[:20], ends, rtol=1e-9, atol=0)
    torch.testing.assert_close(curvatures, torch.tensor(CURVATURES[::-1].copy()),
                               rtol=1e-9, atol=0)

    state, total, low = pack.init(), 0.0, probe.evaluate_train()[0].item()
    for step in range(BURN_IN + STEPS):
        update(pack, state)
        excess = state.params["place"].square() @ torch.tensor(CURVATURES) / 2
        total += excess if step >= BURN_IN else 0.0
    found = (total / STEPS).view(len(RATES), SEEDS)
    loss = Probe(pack, state, slice(0, 1)).evaluate_train()[0].item()
    assert loss - low == pytest.approx(excess[0].item(), rel=1e-9)
    for i, rate in enumerate(RATES):
        exact = stationary_loss(rate, momentum, scales)
        assert found[i].std() / SEEDS**0.5 < exact / 300, "too few steps to tell 1 %"
        assert found[i].mean().item() == pytest.approx(exact, rel=0.01), rate
        if sde is not None:
            assert rate / (4 * SIZE) * CURVATURES.sum() / found[i].mean().item() - 1 == (
                pytest.approx(sde[i], abs=0.012))


def test_gni_is_two_over_eta_in_the_stationary_state():
    """E g_BᵀHg_B = (2/η) E|ḡ|² wherever E L stands still, so GNI tells no edge (Andreyev 2024).

    By the monitor, over 384 runs on a quadratic; |z| < 3 with a standard error below 2 %.
    """
    rate = 0.2
    pack = quadratics.pack_of([quadratics.run(
        start=0.0, seed=s, lr=rate, batch_size=SIZE, steps=400, sampling="with_replacement")
        for s in range(384)], noisy_bowl(CURVATURES, CURVATURES), HERE)
    probe = Probe(pack, advanced(pack, 400), slice(0, 384))
    squares = probe.gradient.square().sum(1)
    found = measured("batch_sharpness", probe, batches=24, gni=True)
    excess = found["gni"] * squares - 2 / rate * squares
    error = excess.std() / 384**0.5
    assert error < 0.02 * 2 / rate * squares.mean()
    assert abs(excess.mean()) < 3 * error
    # Batch sharpness is no such identity: far from it here.
    assert abs(found["batch_sharpness"].mean() * rate / 2 - 1) > 0.2


# --- The break-even point's growth factor (Break-Even, section 2; Wu, Ma & E 2018)

BENDS = np.array([0.3, 0.8, 1.0, 1.7, 2.2, 3.5])  # curvatures H_i of six examples
# (why, S)
SIZES = [
    ("one example a step: the whole variance", 1),
    ("pairs", 2),
    ("half of them", 3),
    ("all but one: least noise", 5),
    ("the whole set: gradient descent", 6),
]


def growth(rate, bend, variance, size):
    """(1 − ηλ)² + s²η²(N − S)/(S(N − 1)), without replacement."""
    return (1 - rate * bend) ** 2 + variance * rate**2 * (6 - size) / (size * 5)


def seeds_of_all_batches(size):
    """One seed for each of the C(N, S) batches, whose first batch it is."""
    found = {}
    for seed in range(10_000):
        batch = epoch_indices([seed], 0, train_size=6, batch_size=size)[0, 0].tolist()
        found.setdefault(tuple(sorted(batch)), seed)
        if len(found) == comb(6, size):
            return found
    raise AssertionError("some batch was never drawn")


@pytest.mark.parametrize(("why", "size"), SIZES, ids=[s[0] for s in SIZES])
@pytest.mark.parametrize("rate", [0.1, 0.9])
def test_the_growth_factor_at_the_break_even_point(why, size, rate):
    """E psi'^2/psi^2 over all batches, each drawn by the trainer itself; λ and s² by monitors."""
    data = quadratics.examples(np.sqrt(BENDS)[:, None], np.zeros((6, 1)))
    seeds = seeds_of_all_batches(size)
    pack = quadratics.pack_of([quadratics.run(start=0.7, seed=s, lr=rate, batch_size=size)
                               for s in seeds.values()], data, HERE)
    before, state = pack.init().params["place"][:, 0], advanced(pack, 1)
    ratios = (state.params["place"][:, 0] / before).square()
    by_hand = [(1 - rate * BENDS[list(b)].mean()) ** 2 for b in combinations(range(6), size)]
    torch.testing.assert_close(ratios.sort().values, torch.tensor(by_hand).sort().values,
                               rtol=1e-12, atol=1e-14)
    probe = Probe(pack, pack.init(), slice(0, 1))
    bend = measured("spectrum", probe, k=1)["hessian_lambda_max"].item()
    noise = measured("gradient_noise", probe, batches=6, hessian_share=0)
    variance = noise["k_lambda_max"].item() / before[0].item() ** 2
    assert ratios.mean().item() == pytest.approx(growth(rate, bend, variance, size), rel=1e-12)
    # The rate at which it turns: 2λ/(λ² + s²(N − S)/(S(N − 1))).
    turn = 2 * bend / (bend**2 + variance * (6 - size) / (size * 5))
    assert growth(turn, bend, variance, size) == pytest.approx(1, rel=1e-12)


# --- Where descent loses its hold on a quadratic

# (why, options of train, η_max λ)
EDGES = [
    ("plain: 2", {}, 2),
    ("heavy ball: 2(1 + b)", {"momentum": 0.9}, 3.8),
    ("heavy ball, another b", {"momentum": 0.5}, 3.0),
    ("Nesterov: (2 + 2b)/(1 + 2b)", {"momentum": 0.9, "nesterov": True}, 3.8 / 2.8),
    ("decay is curvature: 2/(1 + w/lambda)", {"weight_decay": 0.3}, 2 / (1 + 0.3 / 2.5)),
    ("nudged: 2/gamma along e_1", {"optimizer": {
        "name": "nudged_sgd", "k": 1, "gamma": 0.4, "every_epochs": 100, "tolerance": 1e-9}}, 5),
]


@pytest.mark.parametrize(("why", "options", "edge"), EDGES, ids=[e[0] for e in EDGES])
def test_the_edge_of_descent_on_a_quadratic(why, options, edge):
    """1 % below it the way along e_1 (λ = 2.5) shrinks, 1 % above it grows (Cohen et al. 2021)."""
    curvatures = np.array([2.5, 0.4, 0.1])
    data = quadratics.examples(np.tile(np.sqrt(curvatures), (4, 1)), np.zeros((4, 3)))
    rates = [edge / 2.5 * f for f in (0.99, 1.01)]
    pack = quadratics.pack_of([quadratics.run(
        lr=r, batch_size=4, steps=600, max_loss=1e30, **options) for r in rates], data, HERE)
    below, above = advanced(pack, 600).params["place"].abs().unbind(0)
    assert below.amax() < 0.1
    assert above[0] > 10
    assert above[1:].amax() < 0.1


# --- Batch sharpness and the linear model

def test_batch_sharpness_of_the_whole_set_is_that_of_the_gradient():
    """gᵀHg/|g|² = Σλ³θ²/Σλ²θ² on a quadratic, and so is gni (Andreyev & Beneventano 2024)."""
    curvatures = torch.tensor([2.5, 0.4, 0.1], dtype=torch.float64)
    data = quadratics.examples(np.tile(curvatures.sqrt().numpy(), (4, 1)), np.zeros((4, 3)))
    found = measured("batch_sharpness", probe_of(
        [quadratics.run(batch_size=4)], data), gni=True, lambda_max_batches=1)
    expected = (curvatures**3).sum() / (curvatures**2).sum()
    for column in ("batch_sharpness", "gni"):
        assert found[column].item() == pytest.approx(expected.item(), rel=1e-12), column
    assert found["batch_sharpness_ci95"].item() == 0
    assert found["batch_lambda_max"].item() == pytest.approx(2.5, rel=1e-3)


def test_the_hessian_of_the_linear_model_with_mse():
    """H = (1/N) Σ x̃x̃ᵀ ⊗ I_C with x̃ = (x, 1), anywhere: every eigenvalue C times; Tr F is Tr H."""
    data = blobs()
    pack = pack_of([config({"name": "linear"}, loss="mse", lr=0.05)], data)
    for steps in (0, 7):
        probe = Probe(pack, advanced(pack, steps), slice(0, 1))
        x = np.hstack([data.x_train.astype(np.float64), np.ones((40, 1))])
        values = np.linalg.eigvalsh(x.T @ x / 40)[::-1].repeat(3)
        found = measured("spectrum", probe, k=21, tolerance=1e-10)
        np.testing.assert_allclose(found["hessian"][0].numpy(), values, rtol=1e-9)
        assert found["hessian_trace"].item() == pytest.approx(values.sum(), rel=1e-9)
        fisher = measured("fisher", probe, exact=True, examples=40)
        assert fisher["fisher_trace"].item() == pytest.approx(values.sum(), rel=1e-9)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_identities_between_monitors(loss):
    """F is the Gauss-Newton matrix; Tr K + |ḡ|² that of the empirical F; Tr H = Σλ, ‖H‖² = Σλ².

    Martens 2020 for the first; the others by definition.
    """
    model = {"name": "mlp", "width": 3, "depth": 1, "activation": "tanh"}
    probe = probe_after(5, model, loss)
    size = probe.flat.shape[1]
    fisher = measured("fisher", probe, exact=True, examples=40)
    noise = measured("gradient_noise", probe, batches=40, hessian_share=0)
    found = measured("spectrum", probe, k=size, tolerance=1e-10, frobenius=True, gauss_newton=True)
    values = found["hessian"][0]
    for one, other in (
            (fisher["fisher_trace"], found["gauss_newton_trace"]),
            (fisher["empirical_fisher_trace"], noise["k_trace_uncentred"]),
            (noise["k_trace"] + probe.gradient.square().sum(), noise["k_trace_uncentred"]),
            (noise["noise_trace"], noise["k_trace"]),
            (found["hessian_trace"], values.sum()),
            (found["hessian_frobenius"], values.square().sum().sqrt()),
            (found["hessian_lambda_min"], values[-1])):
        assert one.item() == pytest.approx(other.item(), rel=1e-8)


def probe_after(steps, model, loss):
    """Of one run on the blobs."""
    pack = pack_of([config(model, loss=loss)], blobs())
    return Probe(pack, advanced(pack, steps), slice(0, 1))


# --- The edge of stability of nets

def digits(count):
    """The first ``count`` training digits."""
    data = load(resolve({"name": "digits"}), HERE)
    return type(data)(data.x_train[:count], data.y_train[:count], data.x_test, data.y_test,
                      data.classes, data.sha256)


def test_gradient_descent_settles_at_the_edge():
    """η λ_max in [1.9, 2.1] from step 750 on: tanh, MSE, half the initial weights (Cohen 2021).

    At the smallest η it is still on its way: progressive sharpening, from below.
    """
    model = {"name": "mlp", "width": 24, "depth": 2, "activation": "tanh", "init": "he",
             "init_scale": 0.5}
    rates, steps = (0.1, 0.2, 0.3), 1500
    pack = pack_of([config(model, lr=r, batch_size=200, loss="mse", steps=steps) for r in rates],
                   digits(200))
    state, found = pack.init(), []
    for step in range(steps):
        if step % 150 == 0:
            found.append(torch.tensor(rates) * measured(
                "spectrum", Probe(pack, state, slice(0, 3)), k=1, trace=False,
                lambda_min=False)["hessian_lambda_max"])
        update(pack, state)
    found = torch.stack(found)
    assert (found[5:, 1:] > 1.9).all()
    assert (found[5:, 1:] < 2.1).all()
    slowest = found[1:, 0]
    assert (slowest.diff() > 0).all()
    assert slowest[-1] > slowest[0] + 0.5
    assert slowest[-1] < 2.1


def test_full_batch_adam_settles_at_its_edge():
    """η λ_1(P⁻¹H) in [34, 42], (2 + 2β₁)/(1 − β₁) = 38 (Cohen et al. 2022)."""
    adam = {"name": "adam", "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
    model = {"name": "mlp", "width": 5, "depth": 1, "activation": "tanh"}
    rates = (0.01, 0.02)
    pack = pack_of([config(model, lr=r, batch_size=60, loss="mse", optimizer=adam)
                    for r in rates], blobs(shape=(8,), classes=4, train=60))
    state, found = pack.init(), []
    for step in range(1, 1501):
        update(pack, state)
        if step % 250 == 0:
            probe = Probe(pack, state, slice(0, 2))
            found.append(torch.tensor(rates) * measured(
                "spectrum", probe, k=1, trace=False, lambda_min=False,
                preconditioned=True)["preconditioned_lambda_max"])
    last = torch.stack(found[4:])
    assert (last > 34).all()
    assert (last < 42).all()
