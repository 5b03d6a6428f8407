"""What the house's lists hold of this application."""

COMMANDS = ("isoplan.applications.fluctuation.command:add_superresolve",)
