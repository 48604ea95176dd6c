"""Measuring engines and precisions side by side."""
