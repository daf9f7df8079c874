"""Take an archive into service: the component is in component.py."""
