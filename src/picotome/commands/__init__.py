"""The commands of the command line: parse, call one function, say where the result is."""
