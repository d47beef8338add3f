"""The recurrence of full context embeddings against torch's LSTM, in float64."""

from __future__ import annotations

import torch
from torch import nn

from repro.learner.full_context import recurrence


def test_a_recurrence_and_its_gradients_equal_an_lstms() -> None:
    made = torch.Generator().manual_seed(0)
    lstm = nn.LSTM(6, 5).double()
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=made).double())
        lstm.bias_hh_l0.zero_()
    sequence = torch.randn(7, 6, generator=made).double().requires_grad_()
    upstream = torch.randn(7, 5, generator=made).double()
    inputs = (sequence, lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0)
    expected, _ = lstm(sequence)
    actual = recurrence(*inputs)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-13)
    gradients = torch.autograd.grad(expected, inputs, upstream)
    for mine, theirs in zip(torch.autograd.grad(actual, inputs, upstream), gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_a_sequence_of_one_has_no_recurrent_gradient() -> None:
    weight = torch.randn(20, 5, dtype=torch.float64).requires_grad_()
    weight_ih = torch.randn(20, 6, dtype=torch.float64)
    out = recurrence(torch.randn(1, 6).double(), weight_ih, weight, torch.zeros(20).double())
    (found,) = torch.autograd.grad(out.sum(), weight)
    assert not found.any()
