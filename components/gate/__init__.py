"""Decide whether a model may be deployed: the component is in component.py."""
