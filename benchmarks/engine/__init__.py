"""How fast the engine is, beside the tools people use today. `make bench-engine`; see README.md."""
