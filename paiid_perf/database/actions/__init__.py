"""What the database domain changes, each under time-outs and each undoable or said not to be."""
