"""What the house's lists hold of this application."""

COMMANDS = (
    "isoplan.applications.autofocus.command:add_autofocus",
    "isoplan.applications.autofocus.command:add_autofocus_calibrate",
)
