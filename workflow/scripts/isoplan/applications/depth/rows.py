"""What the house's lists hold of this application."""

COMMANDS = (
    "isoplan.applications.depth.command:add_depth",
    "isoplan.applications.depth.command:add_depth_calibrate",
)
