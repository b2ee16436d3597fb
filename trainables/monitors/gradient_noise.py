"""The covariance of the examples' gradients from a few minibatches, and both noise scales."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables import streams
from trainables.costs import GE_GRADIENT, GE_PRODUCT
from trainables.gradients import Minibatches, batch_gradients
from trainables.linalg.products import Curvature
from trainables.monitors.declared.gradient_noise import layout
from trainables.probe import GRAPH_BYTES, Probe, graph_bytes
from trainables.quantities.covariance import (
    InnerProducts,
    conditioning,
    covariance_eigenvalues,
    covariance_factor,
    eigen,
    inner_products,
    moment_eigenvalues,
)
from trainables.quantities.noisescale import Design, hessian_parts, ratio, simple_parts

FEW = "K needs at least two minibatches of the measurement set"
OF_HESSIAN = ("noise_trace_hessian", "noise_gradient_hessian", "noise_scale")
OF_EIGENPAIRS = ("k_hessian_share", "k_hessian_cosine")


def measure(probe: Probe, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """K's spectrum and trace (of the measurement set) and B_simple, B_noise (of the population).

    K = (1/n) Σ (g_i − ḡ)(g_i − ḡ)ᵀ by the Gram matrix of L minibatch gradients (Break-Even paper,
    section 2), scaled by S and the exact factor of the sampling (``covariance_factor``); the
    noise scales (McCandlish et al. 2018, App. A) by ``noisescale``, their Hessian on ``held`` of
    the minibatches. ``population: training_set`` is the right one for parameters trained on the
    set. The partition is the same in every run and at every snapshot; draws with replacement are
    the same in every run and new at every snapshot. Cost: ``declared/gradient_noise.ge``; by
    default 1 + 1.32 GE with the full gradient.
    """
    count, size, held = layout(options, probe.size)
    replacement = options["sampling"] == "with_replacement"
    batches = _drawn(probe, count, size) if replacement else probe.minibatches(count, size)
    population = probe.pack.train_size if options["population"] == "training_set" else math.inf
    design = Design(count, size, probe.size, population, held, replacement)
    products = inner_products(batches.gradients, batches.mean)
    found = _covariance(probe, products, design)
    found |= _simple(probe, products, design)
    if held:
        found |= _with_hessian(probe, batches, products, design, options["products"])
    if options["k"] and count > 1:
        found |= _alignment(probe, batches, products, options["k"])
    if count < 2:
        wanted = [*found, *(OF_HESSIAN if options["hessian_share"] else ()),
                  *(OF_EIGENPAIRS if options["k"] else ())]
        for column in wanted:
            values = found.setdefault(column, torch.full_like(products.square, torch.nan))
            probe.explain(column, values.isnan(), FEW)
    return found


def _drawn(probe: Probe, count: int, size: int) -> Minibatches:
    """Gradients of independent minibatches drawn with replacement from the measurement set."""
    places = torch.randint(probe.size, (count, size), generator=streams.generator(
        0, "noise_scale_batches", probe.step)).to(probe.pack.measure_set.device)
    index = probe.pack.measure_set[places]
    found = batch_gradients(probe, index)
    probe.spend(GE_GRADIENT * count * size / probe.size)
    return Minibatches(found, probe.gradient, size, index)


def _covariance(probe: Probe, products: InnerProducts, design: Design) -> dict[str, Tensor]:
    factor = covariance_factor(
        design.count, design.size, design.examples, replacement=design.replacement)
    nothing = torch.full_like(products.square, torch.nan)
    trace = factor * products.centred.diagonal(dim1=1, dim2=2).sum(1)
    found = {
        "k_lambda_max": nothing, "k_condition": nothing, "k_lambda_max_uncentred": nothing,
        "k_trace": trace, "k_trace_uncentred": trace + products.square,
        "k_batches": torch.full_like(nothing, design.count),
        "k_batch_size": torch.full_like(nothing, design.size),
        "k_replacement": torch.full_like(nothing, design.replacement),
    }
    if design.count < 2:
        return found
    rank = probe.flat.shape[1]  # a Gram matrix larger than that has only zeros beyond
    values = covariance_eigenvalues(products, factor)[:, :rank]
    moments = moment_eigenvalues(products, factor)[:, :rank]
    found |= {
        "gradient_covariance": values, "gradient_second_moment": moments,
        "k_lambda_max": values[:, 0], "k_lambda_max_uncentred": moments[:, 0],
        "k_condition": conditioning(values, probe.flat.dtype),
    }
    probe.explain("k_condition", values[:, 0] == 0, "all minibatches have the same gradient")
    return found


def _simple(probe: Probe, products: InnerProducts, design: Design) -> dict[str, Tensor]:
    trace = products.centred.diagonal(dim1=1, dim2=2).sum(1)
    trace = trace / (design.count - 1) if design.count > 1 else trace * torch.nan
    noise, square = simple_parts(trace, products.square, design)
    scale, undefined = ratio(noise, square)
    probe.explain("noise_scale_simple", undefined,
                  "the estimate of |G|^2 or of Tr Sigma is not positive")
    return {"noise_trace": noise, "noise_gradient_sq": square, "noise_scale_simple": scale}


def _with_hessian(probe: Probe, batches: Minibatches, products: InnerProducts, design: Design,
                  count: int) -> dict[str, Tensor]:
    """Tr(HΣ), GᵀHG and B_noise; half of the products on leading eigenvectors, half on signs."""
    chosen = batches.indices[:design.held].flatten()
    each = max(1, GRAPH_BYTES // (3 * graph_bytes(probe.pack) * len(probe.seeds)))
    curvature = Curvature(lambda params, chunk: probe.losses_of(params, chunk).sum(1),
                          probe.params, chosen.split(each), len(chosen))
    signs = streams.rademacher(
        probe.seeds, "noise_scale", probe.step, (count // 2, design.count), products.square)
    spent = 0

    def product(v: Tensor) -> Tensor:
        nonlocal spent
        spent += 1
        return curvature.product(v)

    trace, form = hessian_parts(product, batches.gradients, batches.mean, products.centred,
                                design, count - count // 2, signs)
    probe.spend(len(chosen) / probe.size * (GE_GRADIENT + GE_PRODUCT * spent))
    scale, undefined = ratio(trace, form)
    probe.explain("noise_scale", undefined,
                  "the estimate of G^T H G or of Tr(H Sigma) is not positive")
    return {"noise_trace_hessian": trace, "noise_gradient_hessian": form, "noise_scale": scale}


def _alignment(probe: Probe, batches: Minibatches, products: InnerProducts,
               k: int) -> dict[str, Tensor]:
    """How far K lies along the Hessian's top eigenvectors e_1 … e_k, those of the whole set.

    k_hessian_share = Σ_i e_iᵀ K̂ e_i / Tr K̂: numerator and denominator unbiased; k/P where K is
    isotropic. k_hessian_cosine = |⟨e_1, u_1⟩| with u_1 the top eigenvector of K̂; it means little
    where either top eigenvalue is nearly double.
    """
    vectors = probe.eigenpairs.vectors[:, :k].nan_to_num(0)  # NaN: beyond the P-th
    centred = batches.gradients - batches.gradients.mean(dim=1, keepdim=True)
    along = torch.einsum("rlp,rkp->rlk", centred, vectors).double()  # ⟨m_a − m̄, e_i⟩
    total = products.centred.diagonal(dim1=1, dim2=2).sum(1)
    values, weights = eigen(products.centred)
    top = (weights[:, :, 0] * along[:, :, 0]).sum(1).abs() / values[:, 0].sqrt()
    for column in ("k_hessian_share", "k_hessian_cosine"):
        probe.explain(column, total == 0, "all minibatches have the same gradient")
    broken = probe.eigenpairs.values[:, 0].isnan()
    return {"k_hessian_share": (along.square().sum((1, 2)) / total).masked_fill(
                broken, torch.nan),
            "k_hessian_cosine": top.masked_fill(broken, torch.nan)}
