"""What the house's lists hold of this application."""

COMMANDS = ("isoplan.applications.fusion.command:add_fuse",)
STAGES = ()
