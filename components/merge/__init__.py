"""Join all shares to a slice store: the component is in component.py."""
