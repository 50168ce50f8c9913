"""The gtn-label command."""
