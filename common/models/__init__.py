"""The networks, the registry of models, their weight files, and networks made ready to predict."""
