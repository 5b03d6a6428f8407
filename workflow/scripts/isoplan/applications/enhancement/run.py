"""`enhance`: from a picture to an enhanced one, and where its own counts speak against the result."""

import argparse

import numpy as np

from isoplan.applications.enhancement import whole
from isoplan.applications.enhancement.filters import Camera
from isoplan.applications.enhancement.networks import Enhancer
from isoplan.applications.enhancement.preview import preview
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.outputs import Outputs
from isoplan.cli.picture import open_picture, outputs_of, stem_of
from isoplan.mosaic import ngff
from isoplan.mosaic.tiles import shards
from isoplan.optics.camera_facts import complete_camera

SHOWN_PX = 256  # side of the preview's crop


def run(args: argparse.Namespace) -> int:
    """Write the picture, the doubts and a preview."""
    if not args.out.name.lower().endswith(".ome.zarr") or args.out.name.lower() == ".ome.zarr":
        raise UserError(f"{args.out}: the name must end in .ome.zarr, with a name before it")
    name = stem_of(args.out)
    doubts = args.out.with_name(f"{name}-doubts.ome.zarr")
    image = args.out.with_name(f"{name}-preview.png")
    enhancer = Enhancer.load(args.network)
    with (
        outputs_of(args, args.out, doubts, image) as outputs,
        open_picture(args, outputs) as picture,
    ):
        camera = _camera(args, picture)
        level = whole.Level.of(picture)
        _told(args, enhancer)
        places = [args.out] if camera is None else [args.out, doubts]
        doubted, shown = _write(args, outputs, places, picture, enhancer, level, camera)
        outputs[image].write_bytes(preview(shown, args.pixel_size_um))
        outputs.deliver()
    print(f"enhanced picture: {args.out} (float32, counts of the input)")
    if camera is not None:
        print(
            f"the input's counts speak against {100 * doubted:.2g} % of the result, by {whole.DOUBTED:g} standard deviations of "
            f"their noise or more: {doubts}"
        )
        if doubted > whole.MUCH:
            print(
                "CAUTION: that is much: this network, or the gain and offset, do not suit this picture"
            )
    print(f"open {image} first; what the counts do not speak against may be invented all the same")
    return 0


def _camera(args: argparse.Namespace, picture) -> Camera | None:
    """The picture's camera, as given or estimated; None where it cannot be."""
    given = {"offset": args.offset, "gain": args.gain, "read_noise_e": args.read_noise}
    found, notes = complete_camera(given, picture.middle())
    for note in notes:
        print(f"{args.picture}: {note}")
    if found["gain"] is None:
        print(f"{args.picture}: where the counts speak against the result is not told; give --gain")
        return None
    return Camera(found["gain"], found["offset"], found["read_noise_e"] or 0.0)


def _told(args: argparse.Namespace, enhancer: Enhancer) -> None:
    """What the network was made for."""
    card = enhancer.card
    pairs = (card.get("enhancement") or {}).get("name", "?")
    print(
        f"{args.network}: learnt from {card.get('fields', '?')} fields of the pairs {pairs}; other detectors, objects and "
        "magnifications it may take for what it knows"
    )


def _write(
    args, outputs: Outputs, places: list, picture, enhancer: Enhancer, level: whole.Level, camera
) -> tuple[float, list[np.ndarray]]:
    """Write the stores core by core. Returns the share of pixels in doubt, and crops to show: input, result, doubts."""
    about = {
        "unit": "counts of the input",
        "network": enhancer.card,
        "camera": vars(camera or Camera()),
    }
    windows = ((level.mean - 2 * level.spread, level.mean + 6 * level.spread), (-10.0, 10.0))
    arrays = []
    for place, window in zip(places, windows, strict=False):
        told = about | ({} if place is args.out else {"unit": "standard deviations of the noise"})
        ngff.create_image(
            outputs[place],
            picture.shape,
            dtype="float32",
            pixel_size_um=args.pixel_size_um,
            shard_px=whole.CORE_PX,
            window=window,
            attributes=told,
        )
        arrays.append(ngff.open_array(outputs[place], "0", "r+"))
    bar = Progress("enhancing, squares", len(shards(picture.shape, whole.CORE_PX)))
    found = whole.enhanced(picture, enhancer, level, camera or Camera(), step=bar.step)
    doubted = 0
    for core, *made in found:
        for array, block in zip(arrays, made, strict=False):
            ngff.write_shards(array, core, block)
        doubted += int((np.abs(made[1]) >= whole.DOUBTED).sum())
    for place in places:
        ngff.build_pyramid(outputs[place])
    spans = [max((n - SHOWN_PX) // 2, 0) for n in picture.shape]
    crop = tuple(slice(k, min(k + SHOWN_PX, n)) for k, n in zip(spans, picture.shape, strict=True))
    before = picture.read(crop[0].start, crop[0].stop, crop[1].start, crop[1].stop)
    return doubted / level.count, [before, *(np.asarray(array[crop]) for array in arrays)]
