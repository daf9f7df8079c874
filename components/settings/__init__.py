"""Check the form: the component is in component.py."""
