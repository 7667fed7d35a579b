"""One module a command of the command line, each with one function ``run(console, ...) -> Outcome``."""
