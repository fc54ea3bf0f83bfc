"""Typed knobs: what can be set, in which unit and range, and how a recipe is loaded."""

from picotome.configs.loading import load_recipe, preset_names, recipe_to_yaml
from picotome.configs.schema import Recipe

__all__ = ["Recipe", "load_recipe", "preset_names", "recipe_to_yaml"]
