"""Train one network: the component is in component.py."""
