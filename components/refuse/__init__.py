"""Say why a model was refused: the component is in component.py."""
