"""What the benches that compare us with others share: processes and what they cost, the others, rows."""
