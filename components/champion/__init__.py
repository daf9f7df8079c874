"""Measure the model in service: the component is in component.py."""
