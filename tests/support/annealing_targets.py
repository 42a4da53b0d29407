"""Laws whose log Z is known, that can be sampled exactly: what annealing is tried on."""

import math

import torch

from ebmpipe.supports import Box


class Gaussian:
    """c + |x - mean|²/(2 sd²) over events of any shape."""

    support = None

    def __init__(self, mean, sd, offset=1.7):
        self.mean, self.sd, self.offset = mean, sd, offset
        self.log_z = float((sd.log() + math.log(2 * math.pi) / 2).sum()) - offset

    def value_and_grad(self, x):
        d = (x - self.mean) / self.sd
        return d.flatten(1).square().sum(1) / 2 + self.offset, d / self.sd

    def __call__(self, x):
        return self.value_and_grad(x)[0]

    def sample(self, n, generator):
        return self.mean + self.sd * torch.randn(n, *self.mean.shape, generator=generator, dtype=self.mean.dtype)


class Mixture:
    """c - log Σ_k weight_k N(x; mean_k, sd²), gradient by hand."""

    support = None

    def __init__(self, means, weights, sd, offset=-2.3):
        self.means, self.weights, self.sd, self.offset, self.log_z = means, weights, sd, offset, -offset

    def value_and_grad(self, x):
        d = x[:, None] - self.means
        logs = self.weights.log() - d.square().sum(2) / (2 * self.sd**2) - x.shape[1] * math.log(self.sd * math.sqrt(2 * math.pi))
        value = torch.logsumexp(logs, 1)
        return self.offset - value, ((logs - value[:, None]).exp()[..., None] * d).sum(1) / self.sd**2

    def __call__(self, x):
        return self.value_and_grad(x)[0]

    def sample(self, n, generator):
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        return self.means[which] + self.sd * torch.randn(n, self.means.shape[1], generator=generator)


class Boxed:
    """E = x·slope in the box: exponential laws cut off, independent coordinates."""

    def __init__(self, slope, box=None):
        self.slope, self.support = slope, box or Box(-1.0, 1.0)
        self.log_z = float((2 * torch.sinh(slope) / slope).log().sum())

    def value_and_grad(self, x):
        return (x * self.slope).sum(1), self.slope.expand_as(x)

    def __call__(self, x):
        return self.value_and_grad(x)[0]

    def sample(self, n, generator):
        u = torch.rand(n, len(self.slope), generator=generator)
        return -torch.log(self.slope.exp() - u * 2 * torch.sinh(self.slope)) / self.slope
