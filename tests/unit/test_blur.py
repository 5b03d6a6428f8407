"""The space-variant blur against direct sums, deepinv and its own transpose."""

import numpy as np
import pytest
import torch
from isoplan.config.validation import validate
from isoplan.optics.blur import ORDERS, SpaceVariantBlur
from isoplan.optics.blur_cells import good_size
from isoplan.optics.blur_sums import _add_correlations, sum_of_correlations, sum_of_products
from isoplan.optics.psf import make_psf_model

# Picture shape, PSF size, centres along y and x: even and odd sizes, uneven grids, centres outside
# the picture and on its pixels, a single PSF, a grid far away.
GRIDS = {
    "uneven": ((40, 37), 7, [5.0, 18.5, 31.0], [3.0, 20.0, 36.0]),
    "one PSF": ((41, 64), 5, [20.0], [32.0]),
    "outside": ((30, 31), 9, [-20.0, -10.0, 10.0, 50.0, 80.0], [0.0, 31.0]),
    "far": ((30, 30), 3, [100.0, 110.0], [-50.0, -40.0]),
    "dense": ((24, 25), 5, [2.0 * i for i in range(12)], [1.5 * i for i in range(18)]),
    "small": ((4, 3), 9, [0.0, 2.0], [1.0]),
}

# Small arrays: a second thread would only wait.
torch.set_num_threads(1)


def random_psfs(ny: int, nx: int, size: int, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(ny * 1000 + nx * 10 + size)
    psfs = torch.rand(ny, nx, size, size, dtype=torch.float64, generator=generator)
    return (psfs / psfs.sum((-1, -2), keepdim=True)).to(dtype)


def make_blur(grid: str, order: str, dtype=torch.float64) -> SpaceVariantBlur:
    shape, size, cy, cx = GRIDS[grid]
    psfs = random_psfs(len(cy), len(cx), size, dtype)
    return SpaceVariantBlur(psfs, cy, cx, shape, order=order)


def random_picture(shape, seed=0, dtype=torch.float64) -> torch.Tensor:
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def axis_hats(centres, positions) -> np.ndarray:
    """(centres, positions): hat of each centre, constant outside the outermost."""
    return np.array([np.interp(positions, centres, row) for row in np.eye(len(centres))])


def direct_sum(psfs, cy, cx, x, shape, order) -> np.ndarray:
    """The definition, term by term: positions are those of the picture, x starts at -margin."""
    psfs, x = psfs.numpy(), x.numpy()
    (height, width), margin = shape, psfs.shape[-1] // 2
    hats_y = axis_hats(cy, np.arange(-margin, height + margin))
    hats_x = axis_hats(cx, np.arange(-margin, width + margin))
    y = np.zeros(shape)
    for i, j in np.ndindex(psfs.shape[:2]):
        hat = np.outer(hats_y[i], hats_x[j])
        for dy, dx in np.ndindex(psfs.shape[2:]):
            # y(p) += h(t) x(p - t), t = (dy, dx) - margin
            source = (
                slice(2 * margin - dy, 2 * margin - dy + height),
                slice(2 * margin - dx, 2 * margin - dx + width),
            )
            if order == "mask-blur":
                y += psfs[i, j, dy, dx] * (hat * x)[source]
            else:
                inside = hat[margin : margin + height, margin : margin + width]
                y += psfs[i, j, dy, dx] * inside * x[source]
    return y


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("grid", GRIDS)
def test_equals_the_direct_sum(grid, order):
    blur = make_blur(grid, order)
    shape, size, cy, cx = GRIDS[grid]
    x = random_picture(blur.object_shape)
    expected = direct_sum(random_psfs(len(cy), len(cx), size), cy, cx, x, shape, order)
    np.testing.assert_allclose(blur.forward(x).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("grid", GRIDS)
def test_adjoint_is_exact(grid, order):
    blur = make_blur(grid, order)
    x = random_picture(blur.object_shape, 1)
    y = random_picture(blur.shape, 2)
    left = (blur.forward(x) * y).sum()
    assert abs(left - (x * blur.adjoint(y)).sum()) < 1e-10 * abs(left)


@pytest.mark.parametrize("grid", GRIDS)
def test_bright_field_keeps_a_flat_field(grid):
    blur = make_blur(grid, "blur-mask")
    flat = torch.ones(blur.object_shape, dtype=blur.dtype)
    torch.testing.assert_close(blur.forward(flat), torch.ones(blur.shape, dtype=blur.dtype))


def test_fluorescence_keeps_flux():
    """Light from sources that lie at least a margin inside arrives whole."""
    blur = make_blur("uneven", "mask-blur")
    m = blur.margin
    x = torch.zeros(blur.object_shape, dtype=blur.dtype)
    x[2 * m : -2 * m, 2 * m : -2 * m] = random_picture((34, 31))
    assert blur.forward(x).sum() == pytest.approx(x.sum().item(), rel=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_hats_are_a_partition_of_unity(order):
    """With one and the same PSF at every node, the grid makes no difference."""
    shape, size, cy, cx = GRIDS["uneven"]
    psf = random_psfs(1, 1, size)
    many = SpaceVariantBlur(psf.expand(len(cy), len(cx), size, size), cy, cx, shape, order=order)
    one = SpaceVariantBlur(psf, [0.0], [0.0], shape, order=order)
    x = random_picture(one.object_shape)
    torch.testing.assert_close(many.forward(x), one.forward(x))


@pytest.mark.parametrize("order", ORDERS)
def test_translation(order):
    """A block of a picture, with the centres in the block's own pixels, blurs as the whole does."""
    _, size, cy, cx = GRIDS["uneven"]
    psfs = random_psfs(len(cy), len(cx), size)
    whole = make_blur("uneven", order)
    x = random_picture(whole.object_shape)
    block = SpaceVariantBlur(psfs, [c - 9 for c in cy], [c - 4 for c in cx], (20, 17), order=order)
    height, width = block.object_shape
    part = block.forward(x[9 : 9 + height, 4 : 4 + width])
    torch.testing.assert_close(part, whole.forward(x)[9:29, 4:21])


@pytest.mark.parametrize("order", ORDERS)
def test_single_precision(order):
    single, double = (make_blur("uneven", order, d) for d in (torch.float32, torch.float64))
    x = random_picture(double.object_shape)
    torch.testing.assert_close(
        single.forward(x.float()).double(), double.forward(x), atol=2e-6, rtol=0
    )


def test_far_psfs_are_not_kept():
    cy = [100.0 * i for i in range(9)]
    psfs = random_psfs(9, 9, 5, torch.float32)
    blur = SpaceVariantBlur(psfs, cy, cy, (50, 50))
    psfs[3:], psfs[:, 3:] = torch.nan, torch.nan
    sparse = SpaceVariantBlur(psfs, cy, cy, (50, 50))
    x = random_picture(blur.object_shape, dtype=torch.float32)
    assert torch.equal(blur.forward(x), sparse.forward(x))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("parts", [(1, 1), (1, 2), (2, 2), (4, 3), (99, 99)])
def test_partitions_agree(order, parts):
    """One cell or many: PSFs without any likeness, none left out."""
    shape, size, cy, cx = (61, 52), 7, [4.0, 19.5, 33.0, 47.0, 60.0], [-9.0, 3.0, 20.0, 36.0, 51.0]
    psfs = random_psfs(5, 5, size)
    blur = SpaceVariantBlur(psfs, cy, cx, shape, order=order, parts=parts)
    assert min(blur.parts) == 1 if 1 in parts else min(blur.parts) >= 2
    x = random_picture(blur.object_shape)
    np.testing.assert_allclose(
        blur.forward(x).numpy(), direct_sum(psfs, cy, cx, x, shape, order), atol=1e-12
    )
    y = random_picture(shape, 2)
    left = (blur.forward(x) * y).sum()
    assert abs(left - (x * blur.adjoint(y)).sum()) < 1e-10 * abs(left)


def defocused(rows: int, columns: int, size: int = 31) -> torch.Tensor:
    """PSFs whose focus alone varies, from .05 to .5 waves along the diagonal."""
    entry = {"name": "focus", "model": "zernike-1", "size_px": size, "cutoff": 0.25}
    model = make_psf_model(validate({"psfs": [*validate({})["psfs"], entry]})["psfs"][-1])
    focus = torch.linspace(0, 1, rows)[:, None] + torch.linspace(0, 1, columns)
    psfs, _ = model.psf((0.05 + 0.225 * focus).reshape(-1, 1))
    return psfs.reshape(rows, columns, size, size).double()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_truncation_stays_within_its_bound(order, tolerance):
    """Few modes; their blur, against the direct sum, is as far off as the bound lets it be."""
    psfs = defocused(7, 6)
    shape, cy, cx = (70, 61), [11.0 * i for i in range(7)], [12.0 * i for i in range(6)]
    blur = SpaceVariantBlur(psfs, cy, cx, shape, order=order, tolerance=tolerance, parts=(1, 1))
    assert 0 < blur.truncation <= tolerance
    modes = blur._groups[0].masks.shape[1]
    assert modes <= 9 < 42
    # A point in the middle of the block shows one mixture of PSFs.
    m = blur.margin
    points = [(m + 33, m + 36), (m + 22, m + 24)]
    for point in points:
        x = torch.zeros(blur.object_shape, dtype=torch.float64)
        x[point] = 1
        exact = direct_sum(psfs, cy, cx, x, shape, order)
        off = blur.forward(x).numpy() - exact
        if order == "mask-blur":
            # Mixtures are no farther off than the PSFs that they are mixed from.
            assert np.linalg.norm(off) <= 1.01 * tolerance * float(psfs.norm(dim=(2, 3)).max())
        assert np.abs(off).sum() <= 10 * tolerance * exact.sum()
    # Whatever is left out, flux is kept and a flat picture stays flat.
    if order == "blur-mask":
        flat = blur.forward(torch.ones(blur.object_shape, dtype=torch.float64))
        torch.testing.assert_close(flat, torch.ones(shape, dtype=torch.float64), rtol=0, atol=1e-6)
    else:
        x = torch.zeros(blur.object_shape, dtype=torch.float64)
        x[2 * m : -2 * m, 2 * m : -2 * m] = random_picture((shape[0] - 2 * m, shape[1] - 2 * m))
        assert blur.forward(x).sum() == pytest.approx(float(x.sum()), rel=1e-6)
    y = random_picture(shape, 2)
    x = random_picture(blur.object_shape)
    left = (blur.forward(x) * y).sum()
    assert abs(left - (x * blur.adjoint(y)).sum()) < 1e-12 * abs(left)


def test_batches_make_no_difference(monkeypatch):
    whole = make_blur("dense", "mask-blur")
    monkeypatch.setattr("isoplan.optics.blur.WORK_BYTES", 1)
    one_by_one = make_blur("dense", "mask-blur")
    x = random_picture(whole.object_shape)
    torch.testing.assert_close(whole.forward(x), one_by_one.forward(x), atol=1e-14, rtol=0)


@pytest.mark.parametrize("work_bytes", [1, 2**14, 2**23])
def test_threads_make_no_difference(work_bytes, monkeypatch):
    """Not even in the last digit: of modes one by one, of some cells at a time, and of all at once."""
    monkeypatch.setattr("isoplan.optics.blur.WORK_BYTES", work_bytes)
    blur = make_blur("dense", "mask-blur")
    x, y = random_picture(blur.object_shape), random_picture(blur.shape, 1)
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            found.append((blur.forward(x), blur.adjoint(y)))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    for one, several in zip(*found, strict=True):
        assert torch.equal(one, several)


@pytest.mark.parametrize("order", ORDERS)
def test_out_of_memory_halves_the_batch(order, monkeypatch):
    """As a GPU does it: batches that are too large fail, halves of them go on."""
    blur = make_blur("dense", order)
    x = random_picture(blur.object_shape)
    y = random_picture(blur.shape, 1)
    expected = blur.forward(x), blur.adjoint(y)
    sizes = []
    transform = torch.fft.rfft2

    def small_memory(array, *args, **settings):
        sizes.append(array.numel())
        if array.numel() > 4 * array.shape[-1] * array.shape[-2]:
            raise torch.OutOfMemoryError("not enough")
        return transform(array, *args, **settings)

    monkeypatch.setattr(torch.fft, "rfft2", small_memory)
    found = blur.forward(x), blur.adjoint(y)
    torch.testing.assert_close(found, expected)
    assert max(sizes) > 4 * min(sizes)  # it did fail first

    def no_memory(*args, **settings):
        raise torch.OutOfMemoryError("none at all")

    monkeypatch.setattr(torch.fft, "rfft2", no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        blur.forward(x)


def test_tables_stay_bounded(monkeypatch):
    """PSFs without any likeness, for which one cell would need an OTF each, are cut finer."""
    cy = [16.0 * i for i in range(9)]
    psfs = random_psfs(9, 9, 5)

    def table_bytes(blur):
        return sum(group.otfs.nbytes for group in blur._groups)

    monkeypatch.setattr("isoplan.optics.blur_cells.CELL_PX", 1e9)  # as if cells were dear
    coarse = SpaceVariantBlur(psfs, cy, cy, (129, 129))
    assert coarse.parts == (1, 1)
    limit = table_bytes(coarse) // 2
    monkeypatch.setattr("isoplan.optics.blur_cells.TABLE_BYTES", limit)
    assert table_bytes(SpaceVariantBlur(psfs, cy, cy, (129, 129))) < limit


@pytest.mark.parametrize("uneven_psfs", [False, True])
def test_deepinv_agrees(uneven_psfs):
    """deepinv's tiled operator is blur-mask; its ramps between tiles are not quite hats, so ours
    are put into it, and everything else is its own."""
    deepinv = pytest.importorskip("deepinv")
    stride, size, n = 16, 7, 4
    margin = size // 2
    psfs = (
        random_psfs(n, n, size) if uneven_psfs else random_psfs(1, 1, size).expand(n, n, size, size)
    )
    peer = deepinv.physics.TiledSpaceVaryingBlur(
        filters=psfs.reshape(1, 1, n * n, size, size).clone(),
        patch_size=2 * stride,
        stride=stride,
        blending_mode="linear",
        dtype=torch.float64,
    )
    side = stride * (n + 1)
    x = random_picture((1, 1, side, side))
    peer.A(x)  # makes its multipliers
    centres = [stride * i + stride - 0.5 - margin for i in range(n)]
    axis = np.stack(
        [
            np.interp(np.arange(2 * stride) + stride * i - margin, centres, np.eye(n)[i])
            for i in range(n)
        ]
    )
    tiles = np.einsum("ip,jq->ijpq", axis, axis).reshape(1, 1, n * n, 2 * stride, 2 * stride)
    assert peer.multipliers.shape == tiles.shape
    if uneven_psfs:
        peer.multipliers = torch.from_numpy(tiles)
    blur = SpaceVariantBlur(
        psfs, centres, centres, (side - size + 1, side - size + 1), order="blur-mask"
    )
    y = peer.A(x)
    torch.testing.assert_close(blur.forward(x[0, 0]), y[0, 0], atol=1e-6, rtol=0)
    # Inside only: at the rim its adjoint leaves out what lies beyond the tiles.
    torch.testing.assert_close(
        blur.adjoint(y[0, 0])[size:-size, size:-size],
        peer.A_adjoint(y)[0, 0][size:-size, size:-size],
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize(("length", "size"), [(94, 96), (96, 96), (97, 100), (1, 2), (7, 8)])
def test_good_sizes(length, size):
    assert good_size(length) == size


def test_wrong_input_is_refused():
    psfs = random_psfs(2, 2, 5)
    with pytest.raises(ValueError, match="order"):
        SpaceVariantBlur(psfs, [0, 1], [0, 1], (9, 9), order="both")
    with pytest.raises(ValueError, match="odd"):
        SpaceVariantBlur(psfs[..., :4, :4], [0, 1], [0, 1], (9, 9))
    with pytest.raises(ValueError, match="centres_x"):
        SpaceVariantBlur(psfs, [0, 1], [1, 0], (9, 9))
    with pytest.raises(ValueError, match="object: shape"):
        SpaceVariantBlur(psfs, [0, 1], [0, 1], (9, 9)).forward(torch.zeros(9, 9))


@pytest.mark.parametrize("width", [12, 15])
@pytest.mark.parametrize("modes", [1, 4, 5])
@pytest.mark.parametrize("real", [False, True])
def test_compiled_sums_are_those_of_whole_arrays(real, modes, width):
    """What a GPU takes as whole arrays, a processor takes in loops, and two modes at once."""
    spectra = torch.fft.rfft2(random_picture((2, modes, 10, width)))
    otfs = torch.fft.rfft2(random_picture((2, modes, 10, width), 1)) / (10 * width)
    otfs = otfs.real.contiguous() if real else otfs
    before = torch.fft.rfft2(random_picture((2, 10, width), 2))
    found = sum_of_products(spectra, otfs, before.clone())
    torch.testing.assert_close(found, before + (spectra * otfs).sum(1))

    seen, masks = spectra[:, 0].contiguous(), random_picture((2, modes, 6, 7), 3)
    about = seen, otfs, masks, (2, 3), width
    whole = _add_correlations(*about, torch.zeros(2, 6, 7, dtype=masks.dtype))
    torch.testing.assert_close(sum_of_correlations(*about), whole)
    torch.testing.assert_close(sum_of_correlations(*about, whole.clone()), 2 * whole)
