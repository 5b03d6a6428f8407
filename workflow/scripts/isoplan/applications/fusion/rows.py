"""What the house's lists hold of this application."""

FUNCTIONS = ("isoplan.applications.fusion.function:fuse",)
COMMANDS = ("isoplan.applications.fusion.command:add_fuse",)
STAGES = ()
