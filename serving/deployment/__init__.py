"""The steps that bring a new version into service; serving/deploy.py is the command (docs/decisions/0018-deploy.md)."""
