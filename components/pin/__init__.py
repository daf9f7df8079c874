"""Finding out which bytes a DVC revision or a bucket prefix means now."""
