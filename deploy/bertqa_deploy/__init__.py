"""Rollout and A/B switching between versions."""
