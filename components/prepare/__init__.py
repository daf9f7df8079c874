"""Prepare a share of the patients: the component is in component.py."""
