"""One weight for a picture from the picture alone: the one under which its counts are most likely.

The prior is p(x) ~ exp(-weight TV(x)). TV doubles when a picture does, so its mean under the prior of n pixels is n / weight, and
the likelihood of the counts is largest where the mean of TV under the posterior is that too (Descombes, Morris, Zerubia,
Berthod: Estimation of Markov random field prior parameters using Markov chain Monte Carlo maximum likelihood, IEEE Trans. Image
Process. 8, 1999). Pictures are drawn from the posterior by a Langevin algorithm with a proximal step (Vidal, De Bortoli, Pereyra,
Durmus: Maximum likelihood estimation of regularization parameters in high-dimensional inverse problems, SIAM J. Imaging Sci. 13,
2020), whose steps are as long as the noise of each pixel allows.
"""

import torch

from isoplan.applications.weight_maps.regularisers import Regulariser
from isoplan.applications.weight_maps.samples import Sample
from isoplan.applications.weight_maps.unrolled import denoised
from isoplan.networks.unet import gaussian_profiles, smoothed
from isoplan.networks.weight_maps import PER_PHOTON

DRAWS = 300  # pictures that are drawn, of which the second half counts
STEP = 0.3  # length of a step, in units of the noise's variance
PROFILE = gaussian_profiles((2.0,), 4.0)  # the variance is taken from the counts, smoothed


def most_likely(sample: Sample, rng: torch.Generator) -> torch.Tensor:
    """The weights (n,) of pictures, of isotropic total variation. rng: where pictures are drawn from."""
    blurs, total = sample.blurs, Regulariser()
    light = smoothed(sample.photons.clamp(min=0)[:, None], PROFILE)[:, 0]
    variance = (light + sample.floor.view(-1, 1, 1)).clamp(min=1)
    metric = blurs.adjoint(variance) / blurs.adjoint(torch.ones_like(variance)).clamp(min=0.1)
    metric = metric.clamp(min=1) / blurs.factor**2
    x = sample.level.view(-1, 1, 1).expand_as(metric)
    dual = x.new_zeros(2, *x.shape)
    pixels = x[0].numel()
    told = torch.log(PER_PHOTON / sample.peak)
    kept = []
    for draw in range(DRAWS):
        weights = told.exp().view(-1, 1, 1)
        smooth, dual = denoised(x, metric, dual, weights.expand_as(x))
        downhill = blurs.adjoint((blurs.forward(x) - sample.photons) / variance)
        noise = torch.randn(x.shape, generator=rng, device=x.device)
        drift = metric * downhill + (x - smooth)
        x = (x - STEP * drift + (2 * STEP * metric).sqrt() * noise).abs()
        value = total.value(x, torch.ones_like(x))
        told = told + 5.0 / (draw + 10) ** 0.8 * (pixels / (told.exp() * value) - 1).clamp(-1, 1)
        if draw >= DRAWS // 2:
            kept.append(told)
    return torch.stack(kept).mean(0).exp()
