"""`enhance`: from a picture to an enhanced one, and where its own counts speak against the result."""

import argparse

from isoplan.applications.enhancement.networks import Enhancer
from isoplan.applications.enhancement.pictures import (
    Known,
    opened_second,
    seen_again,
    taught_by,
    words_of,
)
from isoplan.applications.enhancement.preview import INPUT, preview
from isoplan.applications.enhancement.stores import (
    SHOWN,
    SUFFIX,
    EnhancedStore,
    beside,
    layers_of,
    middle,
)
from isoplan.applications.enhancement.whole import core_of
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.picture import open_picture, outputs_of, stem_of


def run(args: argparse.Namespace) -> int:
    """Write the picture, what lies beside it, and a preview."""
    if not args.out.name.endswith(SUFFIX) or args.out.name == SUFFIX:
        raise UserError(f"{args.out}: the name must end in .ome.zarr, with a name before it")
    places = {layer: beside(args.out, layer) for layer in SHOWN}
    image = args.out.with_name(f"{stem_of(args.out)}-preview.png")
    enhancers = [Enhancer.load(file) for file in args.network]
    with (
        outputs_of(args, args.out, *places.values(), image) as outputs,
        open_picture(args, outputs) as picture,
        opened_second({**vars(args), "path": args.picture}) as again,
    ):
        if again is not None:
            outputs.refuse_sources(again.files)
        known = Known.of(picture, vars(args) | {"read_noise_e": args.read_noise}, again)
        for note in known.notes:
            print(f"{args.picture}: {note}")
        for file, enhancer in zip(args.network, enhancers, strict=True):
            print(f"{file}: {taught_by(enhancer.card)}")
        layers = layers_of(known, len(enhancers))
        cards = {"networks": [enhancer.card for enhancer in enhancers]}
        store = EnhancedStore.create(outputs[args.out], layers, known, cards)
        bar = Progress("enhancing, squares", len(store.cores))
        second = seen_again(again, known)
        for unit, core in enumerate(store.cores):
            block = core_of(picture, enhancers, known.level, known.camera, core, second)
            store.write(unit, block)
            bar.step()
        facts, crops = store.finish()
        rows, columns = middle(picture.shape)
        before = picture.read(rows.start, rows.stop, columns.start, columns.stop)
        outputs[image].write_bytes(preview({INPUT: before} | crops, args.pixel_size_um))
        outputs.deliver()
    print(f"enhanced picture: {args.out} (float32, counts of the input)")
    for word in words_of(facts, known):
        print(word)
    for layer in layers:
        print(f"{SHOWN[layer].title}: {places[layer]}")
    print(f"open {image} first; what the counts do not speak against may be invented all the same")
    return 0
