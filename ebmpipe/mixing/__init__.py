"""How chains mix: long runs from over-dispersed starts, what is recorded of them, and what the record comes to."""
