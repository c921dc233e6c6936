"""How leases are announced, and completed ones come back: by messages, or in shared memory."""
