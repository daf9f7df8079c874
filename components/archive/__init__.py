"""Package a model for TorchServe: the component is in component.py."""
