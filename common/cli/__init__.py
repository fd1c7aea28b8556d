"""The command line of the scripts: parsers, flags, and the commands train, test, predict and export."""
