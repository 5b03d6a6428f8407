"""Snakemake profiles, and findings about a profile, a study and a site."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.cluster.timelimit import schedulers
from isoplan.config import yamlmarks

OK, WARN, FAIL = "OK", "WARN", "FAIL"
NAMES = ("profile.v9+.yaml", "config.v9+.yaml", "profile.yaml", "config.yaml")


@dataclass
class Finding:
    """The result of a check. level: OK, WARN or FAIL. advice: what to do, in one or more lines."""

    level: str
    text: str
    advice: str = ""


@dataclass
class Profile:
    """A Snakemake profile: its file, its lines, its settings."""

    path: Path
    lines: list[str]
    settings: dict

    @classmethod
    def find(cls, name: str) -> "Profile":
        """Find a profile as Snakemake does. Raises UserError if there is none or it is not YAML."""
        home = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
        places = [Path(name), home / "snakemake" / name, Path("/etc/xdg/snakemake") / name]
        for folder in places:
            for file in (folder / known for known in NAMES):
                if file.is_file():
                    return cls.read(file)
        raise UserError(f"profile {name}: there is none in {', '.join(map(str, places))}")

    @classmethod
    def read(cls, path: Path) -> "Profile":
        settings = yamlmarks.read(path, "profile")
        return cls(path, path.read_text().splitlines(), settings)

    def change(self, key: str, text: str) -> str:
        """Advice to change the line of `key` (which may be commented out) to `text`, or to add it."""
        for number, line in enumerate(self.lines, start=1):
            if re.match(rf"#?\s*{re.escape(key)}\s*:", line):
                return f"change {self.path}, line {number}, to:\n{text}"
        if text.startswith(" ") and "default-resources" in self.settings:
            number = next(
                n for n, line in enumerate(self.lines, 1) if line.startswith("default-resources")
            )
            return f"add to {self.path}, below line {number}:\n{text}"
        return f"add to {self.path}:\n{text}"

    def resource(self, rule: str, key: str):
        """The resource that the profile gives to a rule, or None."""
        own = (self.settings.get("set-resources") or {}).get(rule) or {}
        return own.get(key, (self.settings.get("default-resources") or {}).get(key))

    def wants_gpu(self, rule: str) -> bool:
        asked = [self.resource(rule, key) for key in ("gpu", "gres", "gpus")]
        return any("gpu" in str(value) or value not in (None, 0, "") for value in asked)


def site(profile: Profile, study: dict) -> Iterator[Finding]:
    """Check the cluster of a profile's executor, with `site_<executor>.py` beside this file."""
    executor = profile.settings.get("executor")
    known = sorted(
        file.stem.removeprefix("site_") for file in Path(__file__).parent.glob("site_*.py")
    )
    if executor in known:
        yield from import_module(f"site_{executor}").Site(profile, study).findings()
    elif any(scheduler.__name__.endswith(f".{executor}") for scheduler in schedulers()):
        text = f"a cluster of {executor} is not checked"
        advice = f"ask its administrators, or write workflow/site_{executor}.py"
        yield Finding(WARN, text, advice)
    else:
        text = f"the profile's executor is {executor}, not {' or '.join(known)}"
        yield Finding(FAIL, text, profile.change("executor", f"executor: {' or '.join(known)}"))
