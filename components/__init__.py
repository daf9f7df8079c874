"""Kubeflow components: one folder each, thin around glioscope and serving. pipelines/ joins them."""
