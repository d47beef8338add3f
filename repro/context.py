"""Full context embeddings (FCE): the support set and the queries read each other.

Source: Vinyals et al. 2016, Sec. 2.1.2 and App. A; the switches are where the code of Ravi &
Larochelle departs from it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro import paper
from repro.config import Recipe
from repro.seeding import Words


class FullContext(nn.Module):
    """A bidirectional LSTM over the support sequence and an attention LSTM for the queries.

    Each LSTM has one bias vector, as in the authors' code; Vinyals et al. do not say how many.
    torch's have two that are added: trained both, a bias would learn at twice the rate and count
    twice in a gradient's norm. So the second is held at zero.
    """

    def __init__(self, n_feature: int, recipe: Recipe, words: Words) -> None:
        super().__init__()
        self.recipe = recipe
        self.bidirectional = nn.LSTM(n_feature, n_feature, bidirectional=True)
        self.attention = nn.LSTMCell(2 * n_feature, n_feature)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                second_bias = "bias_hh" in name
                parameter.requires_grad_(not second_bias)
                if recipe.fce_init == "zero" or second_bias:
                    parameter.zero_()
                else:
                    bound = n_feature**-0.5
                    values = words.uniform(parameter.numel(), -bound, bound)
                    parameter.copy_(torch.from_numpy(values).view(parameter.shape))

    def support(self, features: Tensor) -> Tensor:
        """g(x_i) = g'(x_i) + forward + backward output, ``[n_support, n_feature]``, in sequence."""
        output, _ = self.bidirectional(features)
        forward, backward = output.chunk(2, dim=1)
        if self.recipe.fce_backward == "reversed":
            # The authors' code adds the outputs in the order in which they are computed.
            backward = backward.flip(0)
        embedded: Tensor = features + forward + backward
        return embedded

    def query(self, features: Tensor, support: Tensor) -> Tensor:
        """The queries' embeddings after three reads of the support set.

        Args:
            features: f'(x) ``[n_query, n_feature]``. support: g ``[n_support, n_feature]``.
        """
        # An LSTM cell whose products are made where their inputs change: those of f'(x) once, and
        # a read that all queries share as one row. A third of the arithmetic of nn.LSTMCell.
        lstm = self.attention
        of_features, of_read = lstm.weight_ih.chunk(2, 1)
        fixed = F.linear(features, of_features, lstm.bias_ih)
        reads = F.linear(torch.stack([support.mean(0), support.sum(0)]), of_read)
        hidden = cell = torch.zeros_like(features)
        for step in range(paper.FCE_READ_STEPS):
            gates = fixed + reads[0] if step == 0 else fixed + F.linear(hidden, lstm.weight_hh)
            if step > 0 and self.recipe.fce_read == "softmax":
                read = (hidden @ support.T).softmax(1) @ support
                gates = gates + F.linear(read, of_read)
            elif step > 0:
                # The authors' softmax normalises rows of one element: every weight is 1.
                gates = gates + reads[1]
            i, f, g, o = gates.chunk(4, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = features + o.sigmoid() * cell.tanh()
        return hidden
