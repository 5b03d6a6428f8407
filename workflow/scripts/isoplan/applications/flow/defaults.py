"""What is looked for if nothing is told."""

LATERAL_PX = (
    16.0  # longest displacement along x and y; pixels are taken together until it is no longer
)
# Depths of field: where paths have an end, and how long they are along the axis.
NEAR, AXIAL = 2.4, 2.4
BINNED_CUTOFF = (
    0.2  # pixels are taken together until the cut-off is about there, in cycles per binned px
)
