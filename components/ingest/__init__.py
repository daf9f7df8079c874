"""Fetching exactly the bytes that a DVC revision or a bucket prefix meant when it was pinned."""
