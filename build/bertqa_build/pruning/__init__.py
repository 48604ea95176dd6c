"""Structured pruning to a measured speed: whole attention heads and feed-forward neurons go.

The method is that of Kurtic et al., "ZipLM: Inference-Aware Structured Pruning of Language Models"
(NeurIPS 2023): what each structure is worth comes from the second-order information of Optimal
Brain Surgeon, what it costs from latencies that were measured, and how much is taken from where
from a search for the least loss within the time (SPDY, Frantar and Alistarh, 2022).
"""
