"""Choose the best on validation: the component is in component.py."""
