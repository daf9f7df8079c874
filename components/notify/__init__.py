"""Say what became of a run, and why: the component is in component.py."""
