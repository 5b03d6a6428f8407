"""How a picture is taken in the published order (seed 003, eq. 2): y = S_s(Q_q(P_gamma(h * x) + e_sigma))."""

import torch


def take(clean: torch.Tensor, how: dict, generator: torch.Generator) -> torch.Tensor:
    """Take pictures of clean ones, with values about 0 to 1.

    Parameters
    ----------
    clean
        (n, h, w) blurred pictures h * x.
    how
        gain: gamma of the Poisson noise gamma P(x / gamma), 0 for none. noise: standard deviation sigma of the
        Gaussian noise. bits: q of the quantisation, after which values lie in [0, 1]; 0 for none.
        salt_pepper: share s of pixels that are black or white, in equal parts.
    generator
        Random numbers, on the CPU.

    Returns
    -------
    torch.Tensor
        (n, h, w) float32.

    Examples
    --------
    >>> clean = torch.full((1, 2, 3), 0.5)
    >>> how = {"gain": 0, "noise": 0, "bits": 1, "salt_pepper": 0}
    >>> take(clean + 0.1, how, torch.Generator()).unique()
    tensor([1.])
    """
    taken = clean.float()
    if how["gain"]:
        taken = how["gain"] * torch.poisson(taken.clamp_min(0) / how["gain"], generator=generator)
    if how["noise"]:
        taken = taken + how["noise"] * torch.randn(taken.shape, generator=generator)
    if how["bits"]:
        steps = 2 ** how["bits"] - 1
        taken = (taken.clamp(0, 1) * steps).round() / steps
    if how["salt_pepper"]:
        drawn = torch.rand(taken.shape, generator=generator)
        taken = torch.where(drawn < how["salt_pepper"] / 2, torch.zeros_like(taken), taken)
        taken = torch.where(drawn > 1 - how["salt_pepper"] / 2, torch.ones_like(taken), taken)
    return taken
