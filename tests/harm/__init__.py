"""No harm: what would lose data, admit a stranger, hang or fill a machine."""
