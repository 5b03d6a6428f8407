"""What the house's lists hold of this application."""

FUNCTIONS = ("isoplan.applications.flow.function:flow",)
COMMANDS = ("isoplan.applications.flow.command:add_flow",)
STAGES = ()
