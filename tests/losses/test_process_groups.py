"""Two and three gloo processes with uneven shares against one process: values and gradients."""

import pytest
import torch
from gloo_worker import (
    MIXUP_SHARES,
    NUM_RANKS,
    case_inputs,
    chunked,
    embeddings,
    excluded_parts,
    excluding_chunked,
    mixup,
    one_case,
    one_excluding_case,
    shares,
    work,
)
from loss_cases import CASES, EXCLUDING
from torch.multiprocessing.spawn import spawn

either_number_of_ranks = pytest.mark.parametrize("num_ranks", [2, 3])
every_case = pytest.mark.parametrize("case", CASES, ids=str)
EVERYTHING = (slice(None), slice(None))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """All results of all ranks, from one start of three processes."""
    folder = tmp_path_factory.mktemp("gloo")
    spawn(work, args=(str(folder),), nprocs=NUM_RANKS)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(NUM_RANKS)]


@every_case
@either_number_of_ranks
def test_value_and_gradient_are_those_of_one_process(found, case, num_ranks):
    value, gradient = one_case(case, EVERYTHING, None)
    for rank, part in enumerate(shares(case, num_ranks)):
        own_value, own_gradient = found[rank][case.name, num_ranks]
        torch.testing.assert_close(own_value, value)
        torch.testing.assert_close(own_gradient, gradient[part])


@pytest.mark.parametrize("case", [case for case in CASES if case.couples], ids=str)
def test_the_shares_alone_do_not_give_it(case):
    value, gradient = one_case(case, EVERYTHING, None)
    alone = [one_case(case, part, None) for part in shares(case, 2)]
    assert all((own - value).abs() > 1e-3 for own, _ in alone)
    whole = torch.cat([own for _, own in alone], 0 if case.takes == "labels" else 1)
    assert not torch.allclose(whole, gradient, atol=1e-3)
    assert not torch.allclose(whole / 2, gradient, atol=1e-3)


def test_every_share_has_a_positive_at_its_borders():
    for case in CASES:
        if case.takes == "positives":
            _, positives = case_inputs(case)
            for num_ranks in (2, 3):
                for part in shares(case, num_ranks):
                    assert positives[part][:, [0, -1]].any(0).all()


@either_number_of_ranks
def test_chunked_softmax_over_label_shares(found, num_ranks):
    value, by_queries, by_labels = chunked(*embeddings(), None)
    ranks = [found[rank]["chunked", num_ranks] for rank in range(num_ranks)]
    for own_value, _, _ in ranks:
        torch.testing.assert_close(own_value, value)
    torch.testing.assert_close(torch.cat([own for _, _, own in ranks]), by_labels)
    torch.testing.assert_close(sum(part for _, part, _ in ranks), by_queries)


@either_number_of_ranks
def test_mixup_is_a_mean_over_all_pairs(found, num_ranks):
    pairs = [rows // 2 for rows in MIXUP_SHARES[num_ranks]]
    alone = [mixup(rank, num_ranks, None) for rank in range(num_ranks)]
    value = sum(n * own[0] for n, own in zip(pairs, alone, strict=True)) / sum(pairs)
    for rank, n in enumerate(pairs):
        own_value, *gradients = found[rank]["mixup", num_ranks]
        torch.testing.assert_close(own_value, value)
        for gradient, of_rank in zip(gradients, alone[rank][1:], strict=True):
            torch.testing.assert_close(gradient, of_rank * (n / sum(pairs)))


@pytest.mark.parametrize("case", EXCLUDING, ids=str)
@either_number_of_ranks
def test_excluded_pairs_over_shares(found, case, num_ranks):
    value, gradient = one_excluding_case(case, EVERYTHING, None)
    for rank, part in enumerate(excluded_parts(case, num_ranks)):
        own_value, own_gradient = found[rank]["excluding", case.name, num_ranks]
        torch.testing.assert_close(own_value, value)
        torch.testing.assert_close(own_gradient, gradient[part])


@pytest.mark.parametrize("sparse", [True, False])
@either_number_of_ranks
def test_chunked_softmax_with_excluded_pairs_over_label_shares(found, sparse, num_ranks):
    value, by_queries, by_labels = excluding_chunked(slice(None), sparse, None)
    ranks = [found[rank]["excluding chunked", sparse, num_ranks] for rank in range(num_ranks)]
    for own_value, _, _ in ranks:
        torch.testing.assert_close(own_value, value)
    torch.testing.assert_close(torch.cat([own for _, _, own in ranks]), by_labels)
    torch.testing.assert_close(sum(part for _, part, _ in ranks), by_queries)
