"""The papers' tables: errors with intervals, plots, the page."""
