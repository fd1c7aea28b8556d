"""The training loop and what it needs: batches, cached features, resume, health checks, devices."""
