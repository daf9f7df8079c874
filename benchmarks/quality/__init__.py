"""How good decisions and heatmaps are on patients that nothing was chosen on; README.md says how to run it."""
