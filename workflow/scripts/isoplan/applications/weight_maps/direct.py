"""A network that restores without a model of the blur, for comparison."""

import torch

from isoplan.networks.weight_maps import WeightNetwork


class DirectNetwork(WeightNetwork):
    """The network of weights, whose output is the restored picture.

    Examples
    --------
    A network that has learnt nothing gives back the picture:

    >>> network = DirectNetwork(width=8, levels=2)
    >>> photons, widths = torch.rand(1, 30, 41), torch.full((1, 30, 41), 3.0)
    >>> peak, floor, doubt = torch.tensor([[1.0], [0.0], [0.1]])
    >>> made = network(photons, widths, peak, floor, doubt)
    >>> bool(torch.allclose(made, photons))
    True
    """

    @classmethod
    def of(cls, spec: dict) -> "DirectNetwork":
        """The network of an entry of `weight_networks`."""
        return cls(spec["width"], spec["levels"])

    def forward(self, *pictures: torch.Tensor) -> torch.Tensor:
        """Restored pictures (n, h, w) in electrons; parameters as of `WeightNetwork`."""
        photons, _, peak, floor, _ = pictures
        told = self.told(*pictures)[:, 0]
        return photons + (peak + floor).view(-1, 1, 1) * told
