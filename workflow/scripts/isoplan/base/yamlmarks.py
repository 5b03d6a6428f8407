"""In which file and line a key of a study stands."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from isoplan.base.errors import UserError


def lines(files) -> list[tuple[str, yaml.Node]]:
    """(file, its YAML tree with line marks) of each config file that is there and has keys."""
    trees = []
    for file in map(str, files):
        if Path(file).is_file():
            tree = parse(Path(file).read_text(), file, marks=True)
            if tree is not None:
                trees.append((file, tree))
    return trees


def parse(text: str, name: str, *, marks: bool = False):
    """The YAML text as plain values or, with `marks`, as a tree that knows its lines. `name` is the file's."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.compose(text, loader) if marks else yaml.load(text, loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{name}{line}: not YAML: {error.problem}; mend this line") from None


def place(path: tuple, marks: list) -> str:
    """file:line of a key, in the last file that has it; of its nearest parent where it is missing."""
    best, best_depth = "", 0
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
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from doubles(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from doubles(item)
