"""Score one model: the component is in component.py."""
