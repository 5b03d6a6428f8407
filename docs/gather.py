"""Gathers the pages of the documentation site into one folder, from which the site is built: python docs/gather.py FOLDER

They are the files of docs/ and files that stand elsewhere in the repository. The command line's page ends with the commands' own
help.

A page links to other files of the repository as a forge and a clone want it, such as ../config/README.md. On the site such
a link leads to the page that is made of that file, and is plain text where there is none. A link to a file that does not
exist is an error.
"""

import html
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
# Page of the site -> the file of the repository that it is made of.
PAGES = {
    "config-keys.md": "config/README.md",
    "models.md": "resources/models/README.md",
    "schema.md": "workflow/schemas/README.md",
    "changes.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "code-of-conduct.md": "CODE_OF_CONDUCT.md",
}
PICTURES = "resources/readme"
WITH_COMMANDS = "command-line.md"  # ends with what all commands take
LINK = re.compile(r"(!?)\[([^\]\[]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)


def main(folder: Path) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "docs/assets", folder / "assets")
    (folder / "pictures").mkdir()
    for picture in sorted((ROOT / PICTURES).glob("*.jpg")):
        shutil.copy(picture, folder / "pictures")
    sources = {path.name: f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))}
    wrong = []
    for page, source in (sources | PAGES).items():
        text, missing = with_links((ROOT / source).read_text(), source)
        (folder / page).write_text(text)
        wrong += [f"{source}: links to {target}, which does not exist" for target in missing]
    with (folder / WITH_COMMANDS).open("a") as page:
        page.write(command_line())
    for line in wrong:
        print(f"ERROR {line}", file=sys.stderr)
    return 1 if wrong else 0


def with_links(text: str, source: str) -> tuple[str, list[str]]:
    """A page with its links as the site wants them, and the targets that do not exist.

    source: the page's file, from the top of the repository.
    """
    missing = []

    def followed(found: re.Match) -> str:
        sign, words, target, anchor = found.groups(default="")
        if not target or "://" in target:
            return found[0]
        place = os.path.normpath(PurePosixPath(source).parent / target)
        if not (ROOT / place).exists():
            missing.append(target)
        page = on_the_site(place)
        return f"{sign}[{words}]({page}{anchor})" if page else words

    parts = zip(FENCE.split(text), [*FENCE.findall(text), ""], strict=True)
    return "".join(LINK.sub(followed, part) + fence for part, fence in parts), missing


def on_the_site(place: str) -> str | None:
    """Where a file of the repository lies on the site, which has no folders but for pictures; None if it does not."""
    for page, source in PAGES.items():
        if place == source:
            return page
    folder, name = os.path.split(place)
    if folder == PICTURES:
        return f"pictures/{name}"
    return name if folder == "docs" and name.endswith(".md") else None


# The command line ----------------------------------------------------------------------------------


def parser():
    """The argparse parser of `isoplan`."""
    sys.path.insert(0, str(ROOT / "workflow" / "scripts"))
    from isoplan.cli.arguments import _parser

    return _parser()


def commands() -> dict:
    """Name of each command of `isoplan` -> its argparse parser."""
    (action,) = (action for action in parser()._actions if isinstance(action.choices, dict))
    return action.choices


def command_line() -> str:
    """What all commands are for, and their arguments."""
    lines = [""]
    for name, command in commands().items():
        lines += [f"## isoplan {name}", "", _plain(command.description), ""]
        needed = [_names(action)[-1] for action in command._actions if action.required]
        lines += [f"Needed: {', '.join(needed)}." if needed else "Nothing has to be given.", ""]
        for action in command._actions:
            if action.dest != "help":
                told = command._get_formatter()._expand_help(action) if action.help else ""
                lines += [", ".join(_names(action)), f":   {_plain(told) or 'see above'}", ""]
    return "\n".join(lines)


def _names(action) -> list[str]:
    """The ways to write an argument, with what it takes."""
    if not action.option_strings:
        return [f"`{action.metavar or action.dest}`"]
    choices = "{" + ",".join(map(str, action.choices or ())) + "}"
    taken = action.metavar or (choices if action.choices else action.dest.upper())
    taken = "" if action.nargs == 0 else f" {taken}"
    return [f"`{option}{taken}`" for option in action.option_strings]


def _plain(text: str) -> str:
    """Text in which no sign has a meaning to Markdown."""
    text = " ".join((text or "").replace("%%", "%").split())
    return html.escape(re.sub(r"([\\`*_{}\[\]#])", r"\\\1", text), quote=False)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
