"""What is looked for if nothing is told."""

# Longest displacement along x and y; pixels are taken together until it is no longer.
LATERAL_PX = 16.0
# Depths of field: where paths have an end, and how long they are along the axis.
NEAR, AXIAL = 2.4, 2.4
# Pixels are taken together until the cut-off is about there, in cycles per binned px.
BINNED_CUTOFF = 0.2
