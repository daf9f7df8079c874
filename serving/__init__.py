"""TorchServe's skin around :mod:`glioscope.predict`: archive, handler, server."""
