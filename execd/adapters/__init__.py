"""Everything that does: one port each, vendor clients and their errors stay inside."""
