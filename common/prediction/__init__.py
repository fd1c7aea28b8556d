"""From a trained network to levels of images and clips, on this machine, in other runtimes and on a Dask cluster."""
