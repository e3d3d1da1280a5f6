"""What KFP sees of the package: one file a component, each a signature, a docstring and one call."""
