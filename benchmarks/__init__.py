"""Compare with local vector environments and with the published package, side by side in one run."""
