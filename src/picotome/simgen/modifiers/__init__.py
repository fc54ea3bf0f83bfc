"""What is done to a specimen after it is built: small functions of one signature, in a dict."""

from picotome.simgen.modifiers.apply import IN_BOX_AXES, IN_OWN_AXES, Modifier, apply_modifiers

__all__ = ["IN_BOX_AXES", "IN_OWN_AXES", "Modifier", "apply_modifiers"]
