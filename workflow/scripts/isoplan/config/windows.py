"""The side of the window that one estimate sees: it is the network's, and all that goes with it follows."""

from contextlib import suppress

from isoplan.base.cards import read_card
from isoplan.base.errors import UserError
from isoplan.config.entries import entry, weights_file
from isoplan.config.schema import schema


def settle(config: dict) -> None:
    """Fills in the windows that a study leaves open, in a config whose keys are each right and whose names exist.

    A network's window is that of its weights' card, else `map.window_px`, else the schema's. The map takes its
    network's, a test set that of the first network that is judged on it, and so do sizes, cells and strides of
    restoration tests. A test takes the first network, where it names none.
    """
    usual = schema()["properties"]["networks"]["items"]["properties"]["window_px"]["otherwise"]
    asked = config["map"]["window_px"]
    for network in config["networks"]:
        network["window_px"] = _of_card(config, network) or network["window_px"] or asked or usual
    own = entry(config, "networks", config["map"]["network"] or config["networks"][0]["name"])
    config["map"]["window_px"] = asked or own["window_px"]
    config["map"]["stride_px"] = config["map"]["stride_px"] or _half(config["map"]["window_px"])
    for item in config["test_sets"]:
        judged = [t["network"] for t in config["tests"] if t["test_set"] == item["name"]]
        first = entry(config, "networks", judged[0]) if judged else own
        item["window_px"] = item["window_px"] or first["window_px"]
    for test in (*config["restoration_tests"], *config["harm_tests"]):
        test["network"] = test["network"] or config["networks"][0]["name"]
    for test in config["restoration_tests"]:
        window = entry(config, "networks", test["network"])["window_px"]
        for key in ("cell_px", "stride_px"):
            test[key] = test[key] or window
        test["size_px"] = test["size_px"] or 2 * window


def _half(window: int) -> int:
    """The longest stride that divides a window at least in two."""
    step = schema()["properties"]["map"]["properties"]["stride_px"]["multipleOf"]
    return max(stride for stride in range(step, window // 2 + 1, step) if window % stride == 0)


def _of_card(config: dict, network: dict) -> int | None:
    # Whoever loads an unusable file says what is wrong with it.
    with suppress(UserError, OSError, ValueError, KeyError, TypeError):
        if file := weights_file(config, network):
            return int(read_card(file)["window_px"])
    return None
