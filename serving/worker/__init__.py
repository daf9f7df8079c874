"""What runs inside a TorchServe worker: from the request to the answer. serving/handler.py puts it together."""
