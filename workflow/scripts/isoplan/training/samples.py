"""Makes training and test samples: sharp scene, PSF, camera -> (patch, parameters, validity).

Batches made during training and stored sets share one recipe (thesis, 2.2.5, eq. 2.9 and 2.10).
"""

from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context

import torch
from torch.nn.functional import pad

from isoplan.base.errors import UserError
from isoplan.base.seeds import torch_rng
from isoplan.objects.scenes import draw_scenes, source_picture
from isoplan.optics.blur_cells import good_size
from isoplan.optics.camera import check_camera, draw_camera, expose, mean_counts, noise_variance
from isoplan.optics.model import PsfModel
from isoplan.optics.other_blurs import draw_others
from isoplan.optics.processing import draw_kinds, process
from isoplan.optics.psf import make_psf_model

# A patch is valid above the first ratio of texture to noise (per pixel), and invalid below the second.
# Between them, all pixels together still carry some information, so validity is left undecided.
VALID_ABOVE, INVALID_BELOW = 1.0, 0.1
VALID, INVALID, UNDECIDED = 0.0, 1.0, -1.0  # the label a0 of the thesis, and one for "undecided"


@dataclass
class Batch:
    """n samples.

    Attributes
    ----------
    patches
        (n, 1, window, window) counts above the camera's offset.
    params
        (n, P) PSF parameters.
    invalid
        (n,) the label a0: 1 without usable texture, 0 with it, -1 undecided.
    cutoff
        (n,) cut-off of the PSF in cycles/px.
    photons
        (n,) photons at the picture's peak.
    scene
        (n,) number of the scene; in a stored set -1, -2, ... for scenes from a real picture.
    processed
        (n,) 1 if the counts were processed after the exposure (`optics.processing`), 0 if raw.
    other_blur
        (n,) 1 if another PSF than one of the model blurred the scene (`optics.other_blurs`); then
        params mean nothing.
    """

    patches: torch.Tensor
    params: torch.Tensor
    invalid: torch.Tensor
    cutoff: torch.Tensor
    photons: torch.Tensor
    scene: torch.Tensor
    processed: torch.Tensor
    other_blur: torch.Tensor

    @property
    def measurable(self) -> torch.Tensor:
        """(n,) bool: samples whose PSF parameters are known and can be estimated."""
        return (self.invalid == VALID) & (self.processed == 0) & (self.other_blur == 0)


@dataclass(frozen=True)
class Recipe:
    """What samples are made of.

    Attributes
    ----------
    psf, objects, camera
        Entries of the config's `psfs`, `objects` and `cameras`.
    window_px
        Side of a patch in px.
    black_share
        Share of samples without any texture.
    processed_share
        Share of samples that are processed after the exposure.
    other_blur_share
        Share of samples that are blurred by a PSF of another kind.
    """

    psf: dict
    objects: dict
    camera: dict
    window_px: int
    black_share: float
    processed_share: float = 0.0
    other_blur_share: float = 0.0

    @property
    def model(self) -> PsfModel:
        return make_psf_model(self.psf)

    def check(self) -> None:
        """Raise UserError if the PSF does not fit its window or the camera is impossible."""
        self.model.check()
        check_camera(self.camera)

    @property
    def scene_px(self) -> int:
        """Side of a scene in px; it is larger than a patch, so that a scene gives many crops."""
        return max(256, self.window_px + self.psf["size_px"] - 1)


class SceneBank:
    """Sharp scenes held on the device, size x scene_px^2 x 4 bytes (512 of 256 px: 134 MB).

    Scene i is a pure function of (seed, stream, i), drawn on the CPU. In epoch e the bank holds the scenes
    [e * fresh, e * fresh + size): each epoch replaces the oldest by `fresh` new ones.

    Parameters
    ----------
    recipe
        What samples are made of.
    seed, stream
        Random stream of the scenes.
    size
        Number of scenes in the bank.
    fresh
        Number of new scenes per epoch.
    split
        Split of real pictures, as in `objects.scenes.draw_scenes`.
    device
        Where the scenes are held.
    workers
        Processes that draw the next epoch's scenes during this one, so that a GPU does not wait. With 0
        workers, scenes are drawn on demand.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        stream: str,
        *,
        size: int,
        fresh: int,
        split: str,
        device,
        workers: int = 0,
    ):
        self.size, self.fresh, self.device = size, fresh, device
        self.first = None
        self.scenes = None
        self.draw = partial(
            draw_scenes,
            recipe.objects,
            size_px=recipe.scene_px,
            seed=seed,
            stream=stream,
            split=split,
        )
        self.seed, self.stream = seed, stream
        self.workers = workers
        # Spawned, not forked, since a fork would inherit the state of the GPU.
        self.pool = (
            ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,))
            if workers
            else None
        )
        self.ordered: dict[tuple[int, int], list[Future]] = {}

    def _order(self, first: int, count: int) -> None:
        """Let the workers draw scenes first, ..., first + count - 1, in equal shares."""
        if self.pool and count and (first, count) not in self.ordered:
            share = -(-count // self.workers)
            self.ordered[first, count] = [
                self.pool.submit(self.draw, n=min(share, first + count - start), first=start)
                for start in range(first, first + count, share)
            ]

    def _take(self, first: int, count: int) -> torch.Tensor:
        self._order(first, count)
        parts = self.ordered.pop((first, count), None)
        if parts is None:
            return self.draw(n=count, first=first).to(self.device)
        return torch.cat([part.result() for part in parts]).to(self.device)

    def at_epoch(self, epoch: int) -> torch.Tensor:
        """(size, scene_px, scene_px) scenes of that epoch."""
        first = epoch * self.fresh
        if self.first is None or not 0 <= first - self.first < self.size:
            self.scenes = self._take(first, self.size)
        elif first > self.first:
            kept = self.scenes[first - self.first :]
            new = self._take(self.first + self.size, first - self.first)
            self.scenes = torch.cat([kept, new])
        if first != self.first:
            self._order(first + self.size, self.fresh)
        self.first = first
        return self.scenes

    def close(self) -> None:
        """Stop the workers."""
        if self.pool:
            self.pool.shutdown(cancel_futures=True)


def blur_patches(scenes: torch.Tensor, psfs: torch.Tensor) -> torch.Tensor:
    """Convolve each scene with its own PSF; only pixels that need no border are returned (thesis, eq. 2.9).

    (n, h, w), (n, s, s) -> (n, h - s + 1, w - s + 1).
    """
    h, w = scenes.shape[-2:]
    s = psfs.shape[-1]
    size = good_size(h), good_size(w)
    spectrum = torch.fft.rfft2(scenes, s=size) * torch.fft.rfft2(psfs, s=size)
    return torch.fft.irfft2(spectrum, s=size)[..., s - 1 : h, s - 1 : w]


def texture_over_noise(clean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Ratio (n,) of the standard deviation of a clean patch about its local mean to that of the noise.

    Parameters
    ----------
    clean
        (n, h, w) expected counts.
    variance
        (n, h, w) noise variance in counts^2.
    """
    box, margin = 33, 16
    about = clean - clean.mean(dim=(1, 2), keepdim=True)
    # Box means from running sums, since a 33 x 33 pooling would cost more than the rest of a sample.
    sums = pad(about, (1, 0, 1, 0)).cumsum(1).cumsum(2)
    rows = sums[:, box:] - sums[:, :-box]
    local = (rows[..., box:] - rows[..., :-box]) / box**2
    detail = about[:, margin:-margin, margin:-margin] - local
    noise = variance.mean(dim=(1, 2)).clamp_min(1e-12)
    return (detail.square().mean(dim=(1, 2)) / noise).sqrt()


def make_batch(recipe: Recipe, model: PsfModel, scenes: torch.Tensor, count: int, rng) -> Batch:
    """Make `count` samples of a recipe from a bank of scenes; rng: generator on the bank's device."""
    device, window, size = scenes.device, recipe.window_px, model.size_px
    crop = window + size - 1

    def integers(high: int) -> torch.Tensor:
        return torch.randint(high, (count,), generator=rng, device=device)

    which, turn = integers(len(scenes)), integers(8)
    top, left = integers(scenes.shape[1] - crop + 1), integers(scenes.shape[2] - crop + 1)
    steps = torch.arange(crop, device=device)
    sharp = scenes[
        which[:, None, None],
        (top[:, None] + steps)[:, :, None],
        (left[:, None] + steps)[:, None, :],
    ]
    sharp = _rotated_or_flipped(sharp, turn)
    black = torch.rand(count, generator=rng, device=device) < recipe.black_share
    sharp = torch.where(black[:, None, None], sharp.mean(dim=(1, 2), keepdim=True), sharp)

    params, cutoff = model.sample(count, rng), model.draw_cutoff(count, rng)
    psfs, _ = model.psf(params, cutoff)
    other = torch.zeros_like(black)
    if recipe.other_blur_share:
        other = torch.rand(count, generator=rng, device=device) < recipe.other_blur_share
        psfs[other] = draw_others(cutoff[other], size, rng, model.plain_kinds)
    clean = blur_patches(sharp, psfs).clamp_min(0)
    settings = draw_camera(recipe.camera, count, rng)
    counts = expose(clean, settings, rng) - settings["offset"][:, None, None]
    texture = texture_over_noise(mean_counts(clean, settings), noise_variance(clean, settings))
    invalid = torch.full((count,), UNDECIDED, device=device)
    invalid[texture > VALID_ABOVE] = VALID
    invalid[(texture < INVALID_BELOW) | black] = INVALID

    processed = torch.rand(count, generator=rng, device=device) < recipe.processed_share
    if processed.any():
        raw = counts[processed]
        counts[processed] = process(raw, draw_kinds(len(raw), rng), rng)
        # Processing that changed nothing cannot be detected. Processing hides how much texture there
        # was, unless there was none.
        processed[processed.clone()] = (counts[processed] != raw).flatten(1).any(1)
        invalid[processed & (invalid == VALID)] = UNDECIDED
    return Batch(
        counts[:, None],
        params,
        invalid,
        cutoff,
        settings["photons"],
        which,
        processed.float(),
        other.float(),
    )


def _rotated_or_flipped(pictures: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Each picture in one of the eight orientations of a square; turn: (n,) from 0 to 7."""
    out = torch.where((turn & 1).bool()[:, None, None], pictures.flip(1), pictures)
    out = torch.where((turn & 2).bool()[:, None, None], out.flip(2), out)
    return torch.where((turn & 4).bool()[:, None, None], out.transpose(1, 2), out)


def training_batch(recipe, model, bank: SceneBank, epoch: int, step: int, count: int) -> Batch:
    """The batch of one step: a pure function of (seed, step) on one kind of device."""
    rng = torch_rng(bank.seed, f"{bank.stream}/batch", step, bank.device)
    return make_batch(recipe, model, bank.at_epoch(epoch), count, rng)


def make_set(
    recipe: Recipe, count: int, *, seed: int, stream: str, split: str, device="cpu"
) -> Batch:
    """Make a fixed set of samples, in blocks of 64 that are each a pure function of their number.

    There is one new scene for every two samples, so a set covers many scenes.
    """
    model, block = recipe.model, 64
    parts = []
    for number in range(-(-count // block)):
        scenes = draw_scenes(
            recipe.objects, block // 2, recipe.scene_px,
            seed=seed, stream=f"{stream}/scenes", first=number * block // 2, split=split, device=device,
        )  # fmt: skip
        rng = torch_rng(seed, f"{stream}/samples", number, device)
        part = make_batch(recipe, model, scenes, block, rng)
        first = number * block // 2
        sources = torch.tensor(
            [
                source_picture(
                    recipe.objects, first + k, seed=seed, stream=f"{stream}/scenes", split=split
                )
                for k in range(block // 2)
            ],
            device=device,
        )[part.scene]
        part.scene = torch.where(sources < 0, part.scene + first, -1 - sources)
        parts.append(part)
    return Batch(
        *(torch.cat([getattr(p, f) for p in parts])[:count] for f in Batch.__annotations__)
    )


def save_set(path, batch: Batch, recipe: Recipe, *, name: str, seed: int) -> None:
    """Store a set of samples and its recipe in zarr; an older store is replaced."""
    import zarr  # imported here, as machines that make sets in memory may lack it
    from zarr.codecs import BloscCodec, Crc32cCodec

    group = zarr.create_group(path, overwrite=True)
    for field in Batch.__annotations__:
        values = getattr(batch, field).cpu().numpy()
        array = group.create_array(
            field,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(min(64, len(values)), *values.shape[1:]),
            compressors=[BloscCodec(cname="zstd", clevel=1), Crc32cCodec()],
        )
        array[:] = values
    group.attrs["isoplan"] = {"name": name, "seed": seed, "recipe": asdict(recipe)}


def store_set(path, recipe: dict, count: int, *, name: str, seed: int, split: str) -> str:
    """Make and store the set of an entry of `networks` or `test_sets`; return a sentence about it.

    recipe: from `config.entries.recipe_of`. Raises UserError if it is impossible.
    """
    made = Recipe(**recipe)
    made.check()
    batch = make_set(made, count, seed=seed, stream=name, split=split)
    save_set(path, batch, made, name=name, seed=seed)
    usable = int((batch.invalid == VALID).sum())
    return f"{count} samples in {path}, {usable} of them with usable texture"


def load_set(path) -> Batch:
    """Load a stored set to the CPU. Raises UserError if it is missing or damaged."""
    import zarr

    try:
        group = zarr.open_group(path, mode="r", use_consolidated=False)
        return Batch(*(torch.from_numpy(group[field][:]) for field in Batch.__annotations__))
    except Exception as error:  # zarr's errors share no class
        raise UserError(f"{path}: cannot be read ({error}); remove it and run again") from None
