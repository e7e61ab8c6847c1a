"""Training on real data: readers, nets, the training loop and what it reports."""
