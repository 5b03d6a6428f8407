"""`enhance`: from a picture to an enhanced one, and where its own counts speak against the result."""

import argparse

from isoplan.applications.enhancement.networks import Enhancer
from isoplan.applications.enhancement.pictures import Known, taught_by, words_of
from isoplan.applications.enhancement.preview import preview
from isoplan.applications.enhancement.stores import SUFFIX, EnhancedStore, beside, middle
from isoplan.applications.enhancement.whole import core_of
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.picture import open_picture, outputs_of, stem_of


def run(args: argparse.Namespace) -> int:
    """Write the picture, the doubts and a preview."""
    if not args.out.name.endswith(SUFFIX) or args.out.name == SUFFIX:
        raise UserError(f"{args.out}: the name must end in .ome.zarr, with a name before it")
    doubts = beside(args.out)
    image = args.out.with_name(f"{stem_of(args.out)}-preview.png")
    enhancer = Enhancer.load(args.network)
    with (
        outputs_of(args, args.out, doubts, image) as outputs,
        open_picture(args, outputs) as picture,
    ):
        known = Known.of(picture, vars(args) | {"read_noise_e": args.read_noise})
        for note in known.notes:
            print(f"{args.picture}: {note}")
        print(f"{args.network}: {taught_by(enhancer.card)}")
        places = outputs[args.out], outputs[doubts] if known.camera else None
        store = EnhancedStore.create(places, known, {"network": enhancer.card})
        bar = Progress("enhancing, squares", len(store.cores))
        for unit, core in enumerate(store.cores):
            store.write(unit, core_of(picture, enhancer, known.level, known.camera, core))
            bar.step()
        doubted, crops = store.finish()
        rows, columns = middle(picture.shape)
        before = picture.read(rows.start, rows.stop, columns.start, columns.stop)
        outputs[image].write_bytes(preview([before, *crops], args.pixel_size_um))
        outputs.deliver()
    print(f"enhanced picture: {args.out} (float32, counts of the input)")
    for word in words_of(doubted):
        print(word)
    if doubted is not None:
        print(f"where they do: {doubts}")
    print(f"open {image} first; what the counts do not speak against may be invented all the same")
    return 0
