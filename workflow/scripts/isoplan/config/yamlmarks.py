"""The user's YAML: refused in one line where it cannot be used; and in which file and line a key stands."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from isoplan.base.errors import UserError
from isoplan.base.textfile import read_text

# A study has some kB, a hundred values, five blocks within one another. YAML of far more is a mistake or a bomb.
LARGEST, MOST_VALUES, DEEPEST = 2**20, 100_000, 50
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def lines(files) -> list[tuple[str, yaml.Node]]:
    """(file, its YAML tree with line marks) of each config file that is there and has keys."""
    trees = []
    for file in map(str, files):
        if Path(file).is_file():
            tree = parse(read_text(file, "config file"), file, marks=True)
            if tree is not None:
                trees.append((file, tree))
    return trees


def read(path: str | Path, what: str = "config file") -> dict:
    """The keys and values of a YAML file. Raises UserError, with the line, for all that has none."""
    found = parse(read_text(path, what), str(path))
    if found is None:
        raise UserError(f"{path}:1: is empty; write `key: value` lines")
    if not isinstance(found, dict):
        kind = "a list" if isinstance(found, list) else "one value"
        raise UserError(f"{path}:1: is {kind}, not a block of keys; write `key: value` lines")
    return found


def parse(text: str, name: str, *, marks: bool = False):
    """The YAML text as plain values or, with `marks`, as a tree that knows its lines. `name` is the file's."""
    loader, line = LOADER(text), 1
    try:
        _check_size(text, name)
        tree = loader.get_single_node()
        if marks or tree is None:
            return tree
        for node in _scalars(tree):
            line = node.start_mark.line + 1
            str(loader.construct_object(node))
        return loader.construct_document(tree)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line, text.rstrip().count("\n")) + 1 if mark else 1
        raise UserError(f"{name}:{line}: not YAML: {error.problem}; correct this line") from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise UserError(f"{name}:{line}: not YAML: {error.reason}; correct this line") from None
    except (ValueError, AttributeError, LookupError) as error:
        # A date of month 13, a word as !!int, a whole number of thousands of digits.
        raise UserError(f'{name}:{line}: {error}; correct it, or put it in "quotes"') from None


def _check_size(text: str, name: str) -> None:
    """Refuses YAML that is large, deep, or unfolds to either by aliases: nothing that walks it would end."""
    if len(text) > LARGEST:
        raise UserError(f"{name}: {len(text) / 2**20:.1f} MiB of YAML; a study has some kB")
    under_way, values = [["", 0]], {}  # anchor and values of each block around; of whole ones
    for event in yaml.parse(text, LOADER):
        count, anchor, place = 0, getattr(event, "anchor", None), event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            under_way.append([anchor, 1])
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, count = under_way.pop()
            values[anchor] = count
        elif isinstance(event, yaml.ScalarEvent):
            count = values[anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == block for block, _ in under_way):
                raise UserError(f"{name}:{place}: *{anchor} stands within itself; write it out")
            count = values.get(anchor, 1)
        under_way[-1][1] += count
        if under_way[-1][1] > MOST_VALUES:
            raise UserError(f"{name}:{place}: unfolds to over {MOST_VALUES:,} values; write it out")
        if len(under_way) > DEEPEST:
            raise UserError(
                f"{name}:{place}: over {DEEPEST} blocks within one another; correct this line"
            )


def _scalars(tree: yaml.Node) -> Iterator[yaml.Node]:
    """Every single value, once, however many aliases name it."""
    seen, left = set(), [tree]
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            if not node.tag.endswith(":merge"):  # the key <<
                yield node
        else:
            pairs = isinstance(node, yaml.MappingNode)
            left += [part for pair in node.value for part in pair] if pairs else node.value


def place(path: tuple, marks: list) -> str:
    """file:line of a key, in the last file that has it; of its nearest parent where it is missing."""
    best, best_depth = f"{marks[-1][0]}:1" if marks else "", 0
    for file, node in reversed(marks):
        depth, line, in_list = 0, 0, False
        for part in path:
            child = _child(node, part)
            if child is None:
                break
            in_list |= isinstance(child[1], yaml.SequenceNode)
            line, node, depth = child[0], child[1], depth + 1
        if depth > best_depth:
            best, best_depth = f"{file}:{line}", depth
        if in_list or depth == len(path):
            break  # lists are replaced whole, so an earlier file has no say in them
    return best


def _child(node: yaml.Node, part) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):
            if key.value == str(part):
                return key.start_mark.line + 1, value
    return None


def doubles(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """(line, key) of keys that stand twice in one block; YAML would silently take the last."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from doubles(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from doubles(item)


def other_bases(tree: yaml.Node) -> Iterator[tuple[int, str]]:
    """(line, text) of numbers that YAML counts by eights or sixties without a word: 010 is 8, 1:30 is 90."""
    for node in _scalars(tree):
        number = not node.style and node.tag.endswith((":int", ":float"))
        if number and (":" in node.value or re.fullmatch(r"[-+]?0[0-7_]+", node.value)):
            yield node.start_mark.line + 1, node.value
