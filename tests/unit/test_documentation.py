"""The documentation: its site builds and loads nothing from elsewhere, and its commands, files and messages exist."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import time
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from isoplan.config.validation import validate
from pages import PAGES, ROOT, TEXTS, code, commands, gather

# The site ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site; building fails on a broken link."""
    made = tmp_path_factory.mktemp("site")
    assert gather.main(made / "docs") == 0
    config = (ROOT / "mkdocs.yml").read_text()
    config = config.replace("docs_dir: build/docs", f"docs_dir: {made / 'docs'}")
    config = config.replace("paths: [workflow/scripts]", f"paths: [{ROOT / 'workflow/scripts'}]")
    (made / "mkdocs.yml").write_text(config)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"],
        cwd=made,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return made / "site"


class Loaded(HTMLParser):
    """What a page loads by itself, as opposed to what it links to."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag != "a":
            for name, value in attrs:
                if name in ("src", "href", "srcset", "data", "poster", "style") and value:
                    self.addresses.append(value)

    def handle_data(self, data):
        if self.lasttag == "style":
            self.addresses += re.findall(r"url\([^)]*\)|@import[^;]*", data)


def outside(addresses: list[str]) -> list[str]:
    return [each for each in addresses if re.search(r"(?:^|[\s('\"])(?:https?:)?//", each)]


def test_the_site_has_every_page(site):
    made = {path.stem for path in site.glob("*.html")} - {"404"}
    assert made == {Path(page).stem for page in (site.parent / "docs").glob("*.md")}
    assert {"command-line", "config-keys", "contributing", "api"} <= made
    assert (site / "search" / "search_index.js").is_file()  # search without a server


def test_the_site_loads_nothing_from_outside(site):
    pages = list(site.glob("**/*.html"))
    assert len(pages) > 20
    for page in pages:
        found = Loaded(page.read_text()).addresses
        assert found and not outside(found), page
    for sheet in site.glob("**/*.css"):
        used = re.findall(r"url\([^)]*\)|@import[^;]*", sheet.read_text())
        assert not outside([each for each in used if "data:" not in each]), sheet


def test_pages_open_as_files(site, browser):
    """Search works without a server, and no page asks for anything outside."""
    browser.get_log("performance")
    browser.get((site / "index.html").as_uri())
    browser.find_element("css selector", ".md-search__input").send_keys("validity")
    deadline = time.monotonic() + 20
    while not (found := browser.find_elements("css selector", ".md-search-result__item")):
        assert time.monotonic() < deadline, browser.get_log("browser")
        time.sleep(0.1)
    assert found
    messages = [json.loads(row["message"])["message"] for row in browser.get_log("performance")]
    asked = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert not [one["request"]["url"] for one in asked if one["request"]["url"].startswith("http")]
    assert not [row for row in browser.get_log("browser") if row["level"] == "SEVERE"]


def test_what_is_loaded_from_outside_is_noticed():
    for text in (
        '<script src="https://cdn.example/a.js"></script>',
        '<link rel=stylesheet href="//fonts.example/a.css">',
        '<img srcset="a.png, http://example/b.png 2x">',
        "<style>@import 'https://example/a.css';</style>",
    ):
        assert outside(Loaded(text).addresses), text
    assert not outside(Loaded('<a href="https://example"></a><img src="a//b.png">').addresses)


def test_the_functions_are_described(site):
    text = (site / "api.html").read_text()
    for name in ("restore", "map_psf", "simulate", "compare", "PsfMap", "Restored", "Simulated"):
        assert f'id="isoplan.api.{name}"' in text
    assert "alarm_threshold" in text and "_made" not in text


def test_every_option_is_described(site):
    text = (site / "command-line.html").read_text()
    for name, command in gather.commands().items():
        assert f"isoplan {name}" in text
        for option in command._option_string_actions:
            assert option in ("-h", "--help") or option in text, option


def test_a_link_to_nothing_is_an_error():
    text = "[a](own-mosaic.md#run-it) [b](../config/README.md#psfs) [c](../LICENSE) [d](none.md)"
    made, missing = gather.with_links(text, "docs/index.md")
    assert made == "[a](own-mosaic.md#run-it) [b](config-keys.md#psfs) c [d](none.md)"
    assert missing == ["none.md"]


# README and links ----------------------------------------------------------------------------------


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].encode()) <= 9000


def headings(page: str) -> set[str]:
    """Anchors of a page's headings, which forges and the site make alike."""
    lines = [line.lstrip("#") for line in TEXTS[page].splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\s-]", "", line).strip().lower().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """As on a forge and in a clone; what the site makes of them, its build checks."""
    for _, text, target, anchor in gather.LINK.findall(gather.FENCE.sub("", TEXTS[page])):
        if "://" in target:
            continue
        place = os.path.normpath(Path(page).parent / target) if target else page
        assert (ROOT / place).exists(), (text, target)
        if anchor:
            assert anchor[1:] in headings(place), (text, target, anchor)


def test_every_page_is_named_in_the_readme_or_by_another_page():
    linked = {
        os.path.normpath(Path(page).parent / target)
        for page, text in TEXTS.items()
        for _, _, target, _ in gather.LINK.findall(text)
    }
    assert {page for page in PAGES if page.startswith("docs/")} - linked == {"docs/index.md"}


def test_pictures_are_small():
    for picture in (ROOT / gather.PICTURES).glob("*.jpg"):
        assert picture.stat().st_size < 150_000, picture
        assert any(picture.name in text for text in TEXTS.values()), picture


# Commands ------------------------------------------------------------------------------------------

# Words that stand for something of the reader's, and what a command takes for them.
STANDS_FOR = {"NA": "1.4", "UM": "0.5", "N": "1"}


@cache
def targets() -> dict[str, set[str]]:
    """Targets of the Makefile, and the variables that the user may give it."""
    text = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    return {
        "targets": named,
        "variables": set(re.findall(r"\$[({](?:or |if )?\$?\(?([A-Z]+)", text)),
    }


@cache
def studies() -> set[str]:
    files = (ROOT / "config" / "studies").glob("*.yaml")
    return {yaml.safe_load(file.read_text())["study"] for file in files}


def to_be_written(page: str) -> set[str]:
    """Studies that a page, or one that it links to, tells the user to write."""
    linked = [
        os.path.normpath(Path(page).parent / target)
        for _, _, target, _ in gather.LINK.findall(TEXTS.get(page, ""))
    ]
    texts = [TEXTS[each] for each in [page, *linked] if each in TEXTS]
    return {
        line.removeprefix("study: ")
        for text in texts
        for line in code(text)
        if re.fullmatch(r"study: [a-z]+", line)
    }


@cache
def snakemake_options() -> set[str]:
    from snakemake.cli import get_argument_parser

    return set(get_argument_parser()._option_string_actions)


def check(command: str, page: str) -> None:
    """Fails if a command of a page is not one that is known."""
    command = re.sub(r"<[a-z ]+>", "NAME", command)  # <study>
    words = shlex.split(command.split("  #")[0])
    while words and "=" in words[0]:
        words.pop(0)  # of the environment
    if not words:
        return
    program, given = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "make":
        check_make(given, page)
    elif program == "isoplan":
        check_isoplan(given)
    elif program == "snakemake":
        check_snakemake(given, page)
    elif program in ("python", "python3") and given[:2] == ["-m", "isoplan"]:
        check_isoplan(given[2:])
    elif program in ("python", "python3") and "".join(given[:2]).startswith("-misoplan."):
        library = ROOT / "workflow/scripts"
        assert (library / f"{given[1].replace('.', '/')}.py").is_file() and given[2:], given
    elif program in ("python", "python3", "pytest"):
        files = [word for word in given if "/" in word]
        assert files and all((ROOT / file).exists() for file in files), given
    elif program == "uv":
        assert given[:2] == ["pip", "install"], given
    elif program == "bioimageio":  # tests/unit/test_bioimageio.py runs it
        assert given[0] == "test" and given[1].endswith("/bioimageio.yaml"), given
    else:
        raise AssertionError(f"{program}: is not known")


def check_make(given: list[str], page: str) -> None:
    if not given or given[0] == "NAME":
        return
    assert given[0] in targets()["targets"], given[0]
    for word in given[1:]:
        name, equals, value = word.partition("=")
        assert equals and name in targets()["variables"], word
        if name == "STUDY" and value != "NAME":
            assert value in studies() | to_be_written(page), value
        if name == "ARGS":
            check_snakemake(shlex.split(value), page)
        if name == "PROFILE":
            assert (ROOT / value).is_dir() or (ROOT / "profiles" / value).is_dir(), value


def check_snakemake(given: list[str], page: str) -> None:
    from isoplan.config.schema import schema

    option = ""
    for word in given:
        if word.startswith("-"):
            option = word.partition("=")[0]
            assert option in snakemake_options(), option
        elif option == "--configfile":
            assert (ROOT / word).is_file() or Path(word).stem in to_be_written(page), word
        elif option == "--config":
            assert word.partition("=")[0] in schema()["properties"], word


def check_isoplan(given: list[str]) -> None:
    if given == ["COMMAND", "--help"] or not given:
        return
    known = gather.commands()
    assert given[0] in known, given[0]
    if len(given) == 1 and known[given[0]]._actions:
        return  # a command's name alone
    given = [STANDS_FOR.get(word, word) for word in given if word != "..."]
    for word in given:  # argparse takes the beginning of an option for the option
        option = word.partition("=")[0]
        assert not word.startswith("--") or option in known[given[0]]._option_string_actions, word
    try:
        asked = gather.parser().parse_args(given)
    except SystemExit as stop:
        assert stop.code == 0, given
        return
    config, network = getattr(asked, "config", None), getattr(asked, "network", None)
    if config:
        told = yaml.safe_load((ROOT / config).read_text())
        named = {
            entry["name"]
            for key in ("networks", "enhancers", "weight_networks")
            for entry in told.get(key, [])
        }
        assert set([network] if isinstance(network, str) else network or []) <= named, network


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_known(page):
    for command in commands(code(TEXTS[page])):
        try:
            check(command, page)
        except (AssertionError, ValueError) as error:
            pytest.fail(f"{page}: `{command}`: {error}")


@pytest.mark.parametrize(
    "command",
    [
        "make demon",
        "make study STUDY=unheard-of",
        "make study STUDY=tiny PROFILE=pbs",
        "make study STUDY=tiny ARG=-n",
        'make study STUDY=tiny ARGS="--rerun-trigger mtime"',
        'make study STUDY=tiny ARGS="--config seeds=2"',
        ".venv/bin/isoplan mapp picture.tif",
        ".venv/bin/isoplan map picture.tif --offsets 100",
        ".venv/bin/isoplan map picture.tif --off 100",
        ".venv/bin/isoplan restore picture.tif",  # no --out
        ".venv/bin/isoplan map picture.tif --psf-model gaussian-3",
        ".venv/bin/isoplan train config/studies/demo.yaml large --folder results/demo",
        ".venv/bin/snakemake --cores all --configfil config/studies/demo.yaml",
        ".venv/bin/snakemake --cores all --configfile config/studies/demos.yaml",
        ".venv/bin/python tests/slurm/clusters.py COMMAND",
        "PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_pictures.py",
        ".venv/bin/pytest -q tests/unit/test_confis.py",
        ".venv/bin/isoplane",
    ],
)
def test_a_wrong_command_is_noticed(command):
    page = "Run it:\n\n    " + command
    assert commands(code(page)) == [command]
    with pytest.raises(AssertionError):
        check(command, "README.md")


def test_commands_are_found():
    text = "Run `make demo`, then\n\n    make test\n\n```\n.venv/bin/isoplan map a.tif\nOK  make\n```\nmake x\n"
    assert sorted(commands(code(text))) == [".venv/bin/isoplan map a.tif", "make demo", "make test"]
    assert sum(len(commands(code(text))) for text in TEXTS.values()) > 80


@pytest.mark.parametrize("page", PAGES)
def test_studies_of_the_pages_are_valid(page):
    """Lines such as `restoration: {dtype: uint16}`, and blocks of YAML."""
    keys = set(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()))
    for line in code(TEXTS[page]):
        key = re.match(r"([a-z_]+): \S", line)
        if not key or key[1] not in keys or "..." in line or "<" in line:
            continue
        if line not in said():
            validate(yaml.safe_load(line))


# Files and messages --------------------------------------------------------------------------------

FILE = re.compile(r"[\w.+-]+(?:/[\w.+-]+)*/?")
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."}
MADE = {"results", "site", "build", "dist", "logs"}  # by commands


@pytest.mark.parametrize("page", PAGES)
def test_files_exist(page):
    written = {f"{name}.{end}" for name in to_be_written(page) for end in ("yaml", "tsv")}
    for words in code(TEXTS[page]):
        for word in words.split():
            word = word.strip("(),;:")
            inside = FILE.fullmatch(word) and word.split("/")[0] in TOP - MADE and "/" in word
            if inside and Path(word).name not in written:
                assert (ROOT / word).exists(), word


@cache
def said() -> str:
    """All texts of the code, with … for what is filled in."""
    found = []
    for path in (ROOT / "workflow").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_messages_are_those_of_the_code():
    blocks = re.findall(r"```text\n(.*?)\n```", TEXTS["docs/faq.md"], re.DOTALL)
    assert len(blocks) > 12
    for block in blocks:
        assert block in said(), block
    assert 12 <= TEXTS["docs/faq.md"].count("\n### ") <= 20
