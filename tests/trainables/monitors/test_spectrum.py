"""The monitor of spectra, in float64: against dense matrices, closed forms and other packages."""

import warnings

import pytest
import torch

from tests.trainables.linalg.test_gaussnewton import dense
from tests.trainables.runs import blobs, config, dense_hessian, fresh_model, noisy_set, pack_of
from trainables.measure import final_weights, snapshot_rows
from trainables.monitors import Sizes, find, spectrum
from trainables.monitors.declared.spectrum import ge
from trainables.probe import Probe, blocks
from trainables.step import update

MLP = {"name": "mlp", "width": 7, "depth": 2, "activation": "tanh"}
RELU = {"name": "mlp", "width": 7, "depth": 2, "activation": "relu"}
ADAM = {"name": "adam", "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
SIZES = Sizes(train=40, test=12, measure=40, batch=8)


def resolved(**options):
    """All options: tight ones, but for those given."""
    tight = {"tolerance": 1e-9, "max_products": 400}
    return find("spectrum", None).resolve({**tight, **options})


def measured(configs, data, options, *, steps=0, **kind):
    """(pack, state, what the monitor finds) of one block, after so many updates."""
    for c in configs:
        c["measure"]["monitors"] = [["spectrum", options]]
    pack = pack_of(configs, data, **kind)
    state = pack.init()
    for _ in range(steps):
        update(pack, state)
    probe = Probe(pack, state, slice(0, len(configs)))
    return pack, state, probe, spectrum.measure(probe, options)


# (why, model, options)
CASES = [
    ("cross-entropy", MLP, {}),
    ("mse", MLP, {"loss": "mse"}),
    ("label noise is measured", MLP, {"noisy": {"label": 0.5}}),
    ("input noise is measured", MLP, {"noisy": {"input": 0.5}}),
    ("relu", RELU, {}),
    ("a measurement subset", MLP, {"set_size": 17}),
    ("convolutions", {"name": "simple_cnn", "width": 2, "dense": 3}, {}),
]


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize(("why", "model", "options"), CASES, ids=[c[0] for c in CASES])
def test_spectrum_gradient_and_moments_are_the_dense_ones(why, model, options, engine):
    data = blobs(shape=(1, 8, 8), train=24) if model["name"] == "simple_cnn" else blobs()
    asked = resolved(frobenius=True)
    configs = [config(model, seed=s, monitors=[("spectrum", asked)], **options) for s in range(2)]
    pack = pack_of(configs, data, engine=engine)
    for block in blocks(pack):
        probe = Probe(pack, pack.init(), block)
        found = spectrum.measure(probe, asked)
        for i, r in enumerate(range(block.start, block.stop)):
            hessian, gradient, _ = dense_hessian(configs[r], data, pack.measure_set)
            values = torch.linalg.eigvalsh(hessian).flip(0)
            scale = values[0].item()
            torch.testing.assert_close(probe.gradient[i], gradient, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(found["hessian"][i], values[:5], rtol=0, atol=1e-6 * scale)
            above = values[:5] - found["hessian"][i]
            assert (above <= found["hessian_bound"][i] + 1e-12 * scale).all()
            assert found["hessian_lambda_max"][i] == found["hessian"][i, 0]
            assert found["hessian_lambda_max_bound"][i] == found["hessian_bound"][i, 0]
            smallest, below = (found[f"hessian_lambda_min{e}"][i].item() for e in ("", "_bound"))
            assert smallest == pytest.approx(values[-1].item(), abs=1e-6 * scale)
            assert smallest - values[-1] <= below + 1e-12 * scale
            for name, exact in (("trace", hessian.trace()), ("frobenius", hessian.norm())):
                error = abs(found[f"hessian_{name}"][i] - exact).item()
                assert error <= 4 * found[f"hessian_{name}_se"][i].item() + 1e-9 * scale


def test_linear_model_with_mse_has_the_closed_form():
    """H = (1/n) Σ x̃ x̃ᵀ ⊗ I_C with x̃ = (x, 1), whatever the weights; G is the same."""
    data = blobs()
    x = torch.tensor(data.x_train, dtype=torch.float64)
    x = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    values = torch.linalg.eigvalsh(x.T @ x / len(x)).flip(0)
    asked = resolved(gauss_newton=True)
    _, _, probe, found = measured([config({"name": "linear"}, loss="mse")], data, asked)
    for name in ("hessian", "gauss_newton"):
        assert found[f"{name}_lambda_max"].item() == pytest.approx(values[0].item(), rel=1e-9)
        error = abs(found[f"{name}_trace"].item() - 3 * values.sum().item())
        assert error <= 4 * found[f"{name}_trace_se"].item() + 1e-9
    # each value comes three times, from two start vectors: the notes say so
    assert "further copies may be missing" in probe.notes(0)
    assert probe.known("hessian_lambda_max", 0, 1.0) == 1.0


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_the_gauss_newton_spectrum_is_the_dense_one(loss):
    data, asked = blobs(), resolved(gauss_newton=True, k=4)
    configs = [config(RELU, seed=s, loss=loss) for s in range(2)]
    pack, _, _, found = measured(configs, data, asked)
    for i, cfg in enumerate(configs):
        matrix, _ = dense(cfg, data, pack.measure_set)
        values = torch.linalg.eigvalsh(matrix).flip(0)
        torch.testing.assert_close(
            found["gauss_newton"][i], values[:4], rtol=0, atol=1e-6 * values[0].item())
        above = values[:4] - found["gauss_newton"][i]
        assert (above <= found["gauss_newton_bound"][i] + 1e-12).all()
        assert found["gauss_newton_lambda_max"][i] == found["gauss_newton"][i, 0]
        error = abs(found["gauss_newton_trace"][i] - matrix.trace())
        assert error <= 4 * found["gauss_newton_trace_se"][i] + 1e-9


def test_the_scaled_spectra_are_the_dense_ones():
    data, asked = blobs(), resolved(normalized=True, preconditioned=True)
    configs = [config(MLP, seed=s, lr=0.01, optimizer=ADAM) for s in range(2)]
    pack, state, probe, found = measured(configs, data, asked, steps=6)
    for i, cfg in enumerate(configs):
        weights = final_weights(pack, state)[f"r{i}"]
        hessian, _, flat = dense_hessian(cfg, data, pack.measure_set, weights)
        for column, d in (("normalized_sharpness", flat.abs()),
                          ("preconditioned_lambda_max", probe.preconditioner[i].rsqrt())):
            values = torch.linalg.eigvalsh(d * hessian * d[:, None])
            assert found[column][i].item() == pytest.approx(values[-1].item(), rel=1e-6)


# (why, optimizer, steps, said)
NO_PRECONDITIONER = [("SGD has none", {"name": "sgd"}, 2, "SGD"),
                     ("Adam has none before its first step", ADAM, 0, "step 0")]


@pytest.mark.parametrize(("why", "optimizer", "steps", "said"), NO_PRECONDITIONER)
def test_without_a_preconditioner_the_notes_say_why(why, optimizer, steps, said):
    asked = resolved(preconditioned=True, trace=False)
    _, _, probe, found = measured([config(MLP, optimizer=optimizer)], blobs(), asked, steps=steps)
    assert found["preconditioned_lambda_max"].isnan().all()
    assert "preconditioned_hessian" not in found
    assert probe.known("preconditioned_lambda_max", 0, float("nan")) is None
    assert said in probe.notes(0)
    assert found["hessian_products"].item() == probe.eigenpairs.products.item()


def test_rescaled_relu_layers_leave_the_normalized_sharpness_as_it_is():
    """(αW₁, αb₁), W₂/α: the same function, another λ_max (Dinh et al. 2017)."""
    asked, found = resolved(normalized=True, trace=False), []
    for alpha in (1.0, 5.0):
        pack = pack_of([config(RELU, monitors=[("spectrum", asked)])], blobs())
        state = pack.init()
        for _ in range(5):
            update(pack, state)
        for name, factor in (("1.weight", alpha), ("1.bias", alpha), ("3.weight", 1 / alpha)):
            state.params[name] *= factor
        probe = Probe(pack, state, slice(0, 1))
        found.append({"loss": probe.evaluate_train()[0], **spectrum.measure(probe, asked)})
    plain, rescaled = found
    torch.testing.assert_close(rescaled["loss"], plain["loss"], rtol=1e-12, atol=0)
    torch.testing.assert_close(rescaled["normalized_sharpness"], plain["normalized_sharpness"],
                               rtol=1e-7, atol=0)
    assert abs(rescaled["hessian_lambda_max"] / plain["hessian_lambda_max"] - 1).item() > 0.5


def test_the_density_is_that_of_the_dense_spectrum():
    """Where all steps are made each start gives its exact weights; their mean has integral 1."""
    data, cfg = blobs(), config({"name": "mlp", "width": 3, "depth": 1})
    asked = resolved(density=1000, density_starts=3, density_width=0.05, trace=False)
    pack, _, probe, found = measured([cfg], data, asked)
    values, vectors = torch.linalg.eigh(dense_hessian(cfg, data, pack.measure_set)[0])
    curve = found["hessian_density"]
    assert torch.trapezoid(curve.value[0], curve.x[0]).item() == pytest.approx(1, abs=2e-6)
    sigma, exact = 0.05 * (values[-1] - values[0]), torch.zeros_like(curve.x[0])
    for i, nodes in enumerate(found["hessian_density_nodes"]):
        assert nodes.series == f"start {i}"
        assert nodes.value[0].sum().item() == pytest.approx(1, abs=1e-12)
        weights = (probe.signs(f"density {i}", 1)[0, 0] @ vectors).square() / len(values)
        away = (curve.x[0][:, None] - values) / sigma
        exact += ((-away.square() / 2).exp() * weights).sum(1) / (sigma * (2 * torch.pi) ** 0.5) / 3
    torch.testing.assert_close(curve.value[0], exact, rtol=1e-6, atol=1e-6 * exact.max().item())
    spent = found["hessian_products"] - probe.eigenpairs.products
    assert spent.item() == 3 * pack.parameters


def test_more_values_than_parameters_are_told():
    asked = resolved(k=30, trace=False)
    pack, state, probe, found = measured([config({"name": "linear"})], blobs(), asked)
    assert pack.parameters == 21
    assert found["hessian"].isnan().sum() == 9
    assert "the model has 21 parameters" in probe.notes(0)
    rows = snapshot_rows(pack, state, torch.ones(1) > 0)
    assert [s["index"] for s in rows["spectra"]] == list(range(1, 22))
    assert all(s["bound"] >= 0 for s in rows["spectra"])


def test_a_hessian_of_zeros_has_zeros():
    """The cross-entropy of one class is 0, whatever the weights."""
    asked = resolved(frobenius=True, gauss_newton=True, normalized=True, density=5, k=3)
    _, _, probe, found = measured([config(RELU)], blobs(classes=1), asked)
    for name in ("hessian_lambda_max", "hessian_lambda_min", "hessian_trace", "hessian_trace_se",
                 "hessian_frobenius", "hessian_frobenius_se", "normalized_sharpness",
                 "gauss_newton_lambda_max", "gauss_newton_trace"):
        assert found[name].tolist() == [0.0], name
    assert found["hessian"].tolist() == [[0.0, 0.0, 0.0]]
    assert found["hessian_density"].value.isfinite().all()
    assert probe.notes(0) is None


@pytest.mark.parametrize("engine", ["vmap", "loop"])
def test_a_failed_run_harms_no_other_and_every_product_is_counted(engine):
    asked = resolved(tolerance=1e-4, frobenius=True, gauss_newton=True, normalized=True, density=4)
    pack = pack_of([config(MLP, seed=s, monitors=[("spectrum", asked)]) for s in range(3)],
                   blobs(), engine=engine)
    width = 1 if engine == "loop" else 3
    good, bad = pack.init(), pack.init()
    for p in bad.params.values():
        p[1] = torch.nan
    for block in (slice(i, i + width) for i in range(0, 3, width)):
        probes = [Probe(pack, s, block) for s in (good, bad)]
        one, two = (spectrum.measure(p, asked) for p in probes)
        healthy = [i for i, r in enumerate(range(3)[block]) if r != 1]
        for name, value in one.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value[healthy], two[name][healthy]), name
        spent = 1 + 2 * one["hessian_products"] + 1 + 4 / 3 * one["gauss_newton_products"]
        torch.testing.assert_close(probes[0].ge, spent)
    rows = snapshot_rows(pack, bad, torch.ones(3) > 0)
    assert {s["run_id"] for s in rows["spectra"]} == {"r0", "r2"}
    assert {s["subject_id"] for s in rows["curves"]} == {"r0", "r2"}


def test_a_run_does_not_depend_on_its_neighbours():
    """Bit for bit, in float32, whatever the others are and how long they take."""
    asked = find("spectrum", None).resolve({
        "k": 3, "tolerance": 1e-2, "frobenius": True, "gauss_newton": True, "normalized": True,
        "density": 7, "density_starts": 2, "density_width": 0.1})
    found = []
    for others in ((2, 3), (5, 70)):
        configs = [config(RELU | {"width": 13}, seed=s, lr=0.05 * (1 + s % 9), precision="fp32")
                   for s in (0, 1, *others)]
        found.append(measured(configs, blobs(), asked, steps=8)[3])
    one, other = found
    assert not torch.equal(one["hessian_products"][2:], other["hessian_products"][2:])
    for name, value in one.items():
        pairs = [(value, other[name])]
        if name == "hessian_density_nodes":
            pairs = [(a.value, b.value) for a, b in zip(value, other[name], strict=True)]
        elif not isinstance(value, torch.Tensor):
            pairs = [(value.value, other[name].value)]
        for a, b in pairs:
            assert torch.equal(a[:2], b[:2]), name


# (why, options)
STEADY = [
    ("as it stands by default", {}),
    ("a spectrum that could be followed", {"lambda_min": False, "k": 2, "tolerance": 1e-2}),
    ("everything", {"frobenius": True, "gauss_newton": True, "normalized": True, "density": 7,
                    "preconditioned": True, "k": 3, "density_starts": 2}),
]


@pytest.mark.parametrize(("why", "options"), STEADY, ids=[s[0] for s in STEADY])
def test_steady_spends_what_is_declared(why, options):
    """At every snapshot, also of a spectrum that stands still; without it spends otherwise.

    All searches then take what the Hessian's takes: the declared cost may rise by it.
    """
    given = find("spectrum", None).resolve(options)
    spent = {}
    for kind, asked in (("as given", given),
                        ("steady", find("spectrum", None).steady(given, SIZES))):
        configs = [config(MLP | {"width": 9}, seed=s, precision="fp32", optimizer=ADAM,
                          monitors=[("spectrum", asked)]) for s in range(2)]
        pack = pack_of(configs, blobs())
        state = pack.init()
        update(pack, state)
        rows = [snapshot_rows(pack, state, torch.ones(2) > 0)["snapshots"] for _ in range(3)]
        losses = (40 + 12) / 40 / 3 + 1
        spent[kind] = [r["measure_ge"] - losses for snapshot in rows for r in snapshot]
        if kind == "steady":
            assert spent[kind] == pytest.approx([ge(asked, SIZES)] * 6, rel=1e-12)
            more = given["gauss_newton"] or given["normalized"]
            assert ge(asked, SIZES) >= ge(given, SIZES) * (1 if more else 1 - 1e-12)
            assert more or ge(asked, SIZES) <= ge(given, SIZES) * (1 + 1e-12)
    assert spent["as given"] != pytest.approx(spent["steady"], rel=1e-3)


@pytest.fixture(scope="module")
def plain():
    """A trained run as other packages want it, and what the monitor finds."""
    data, cfg = blobs(), config(MLP, lr=0.3)
    asked = resolved(k=3, frobenius=True, gauss_newton=True, density=40, density_starts=4)
    pack, state, _, found = measured([cfg], data, asked, steps=20)
    module, (x, y) = fresh_model(cfg, data).eval(), noisy_set(cfg, data)
    module.load_state_dict(final_weights(pack, state)["r0"])
    return module, x, y, found


@pytest.mark.filterwarnings("ignore")
def test_pyhessian_finds_the_same(plain):
    """Its eigenvalues of largest magnitude, its trace, the mean of its density."""
    package = pytest.importorskip("pyhessian")
    module, x, y, found = plain
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        solver = package.hessian(module, torch.nn.CrossEntropyLoss(), data=(x, y), cuda=False)
        values, _ = solver.eigenvalues(top_n=3, tol=1e-9, maxIter=2000)
        traces = torch.tensor(solver.trace(maxIter=200, tol=0))
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(found["hessian"][0], torch.tensor(values).double(),
                               rtol=1e-4, atol=0)
    theirs = traces.mean().item(), traces.std().item() / len(traces) ** 0.5
    error = (found["hessian_trace_se"].item() ** 2 + theirs[1] ** 2) ** 0.5
    assert abs(found["hessian_trace"].item() - theirs[0]) < 4 * error
    for p in module.parameters():
        p.grad = None  # a graph that refers to itself


@pytest.mark.filterwarnings("ignore")
def test_pyhessians_density_has_the_same_moments(plain, monkeypatch):
    """Mean and mean square of the spectrum, tr H/P and ‖H‖²/P, by its quadrature and by ours."""
    package = pytest.importorskip("pyhessian")
    # torch.eig, which it calls, is no more
    monkeypatch.setattr(torch, "eig", lambda t, **_: (
        torch.linalg.eigvalsh(t)[:, None], torch.linalg.eigh(t)[1]), raising=False)
    module, x, y, found = plain
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        solver = package.hessian(module, torch.nn.CrossEntropyLoss(), data=(x, y), cuda=False)
        nodes, weights = (torch.tensor(t).double() for t in solver.density(iter=40, n_v=40))
    finally:
        torch.set_default_dtype(torch.float32)
        for p in module.parameters():
            p.grad = None
    ours = found["hessian_density_nodes"]
    for power in (1, 2):
        theirs = (weights * nodes**power).sum(1)
        mine = torch.stack([(c.value[0] * c.x[0]**power).sum() for c in ours])
        error = (theirs.var() / len(theirs) + theirs.var() / len(mine)).sqrt()
        assert abs(theirs.mean() - mine.mean()) < 4 * error


@pytest.mark.filterwarnings("ignore")
def test_curvlinops_has_the_same_matrices(plain):
    """Its dense Hessian and GGN, column by column: eigenvalues, trace and norm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("curvlinops")
    module, x, y, found = plain
    params = list(module.parameters())
    for operator, name in (("HessianLinearOperator", "hessian"), ("GGNLinearOperator",
                                                                  "gauss_newton")):
        matrix = getattr(package, operator)(
            module, torch.nn.CrossEntropyLoss(), params, [(x, y)], check_deterministic=False)
        full = matrix @ torch.eye(matrix.shape[1], dtype=torch.float64)
        values = torch.linalg.eigvalsh(full).flip(0)
        torch.testing.assert_close(found[name][0], values[:3], rtol=1e-7, atol=0)
        error = abs(found[f"{name}_trace"].item() - full.trace().item())
        assert error <= 4 * found[f"{name}_trace_se"].item() + 1e-9
        if name == "hessian":
            error = abs(found["hessian_frobenius"].item() - full.norm().item())
            assert error <= 4 * found["hessian_frobenius_se"].item() + 1e-9
