"""The index advisor: parsed statements and catalogue facts in, proposals and refusals out."""
