"""The public door in front of TorchServe: limits, one error shape, readiness (docs/decisions/0017-gateway.md)."""
