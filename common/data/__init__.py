"""The rootdir layout, labels, and what makes datasets."""
