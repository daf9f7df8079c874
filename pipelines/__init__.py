"""The pipeline: what joins the components, its compiled YAML, and how to compile, run and trigger it."""
