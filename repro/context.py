"""Full context embeddings (FCE): the support set and the queries read each other.

Source: Vinyals et al. 2016, Sec. 2.1.2 and App. A; the switches are where the code of Ravi &
Larochelle departs from it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repro import paper
from repro.config import Recipe
from repro.seeding import Words


class FullContext(nn.Module):
    """A bidirectional LSTM over the support sequence and an attention LSTM for the queries."""

    def __init__(self, n_feature: int, recipe: Recipe, words: Words) -> None:
        super().__init__()
        self.recipe = recipe
        self.bidirectional = nn.LSTM(n_feature, n_feature, bidirectional=True)
        self.attention = nn.LSTMCell(2 * n_feature, n_feature)
        with torch.no_grad():
            for parameter in self.parameters():
                if recipe.fce_init == "zero":
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
        hidden = cell = torch.zeros_like(features)
        read = support.mean(0).expand_as(features)
        for _ in range(paper.FCE_READ_STEPS):
            output, cell = self.attention(torch.cat([features, read], 1), (hidden, cell))
            hidden = features + output
            if self.recipe.fce_read == "softmax":
                read = (hidden @ support.T).softmax(1) @ support
            else:
                # The authors' softmax normalises rows of one element: every weight is 1.
                read = support.sum(0).expand_as(features)
        return hidden
