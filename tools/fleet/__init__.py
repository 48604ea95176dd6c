"""A simulation of replicas that answer questions: how many a rate needs, and what disturbs them."""
