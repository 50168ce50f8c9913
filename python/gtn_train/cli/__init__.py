"""The gtn-train command."""
