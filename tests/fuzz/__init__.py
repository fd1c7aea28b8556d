"""Campaigns that take minutes and are no part of the tests: damaged inputs (`make fuzz`) and stops (`make stops`)."""
