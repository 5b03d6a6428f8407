"""What a study says of a network for PSF regression: recipe, code, and the test sets that judge it for release."""

from isoplan.config.entries import code_of_network, entry, recipe_of


def recipe(study: dict, name: str) -> dict:
    """What an entry of `networks` learns from; of the whole entry, which a network that is not trained here must fit, too."""
    return recipe_of(study, entry(study, "networks", name))


def code(study: dict, name: str) -> list[str]:
    """The classes that it chooses, as "module:name"."""
    return code_of_network(study, entry(study, "networks", name))


def asked(study: dict, name: str) -> list[dict]:
    """Its test sets without those that are degraded, as a card keeps them: test_set, seed, samples, recipe."""
    names = [
        test["test_set"]
        for test in study["tests"]
        if test["network"] == name and test["degradation"] == "none"
    ]
    sets = [entry(study, "test_sets", one) for one in names]
    return [
        {
            "test_set": one["name"],
            "seed": study["seed"],
            "samples": one["samples"],
            "recipe": recipe_of(study, one),
        }
        for one in sets
    ]
