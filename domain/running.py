"""Which automatic imports run, for SQL: those that cycles serve, and whose waiting records are let in."""

RUNS = "(i.deleted_at IS NULL AND i.state IN ('ACTIVE', 'FAILING'))"
"""Whether the import `i` runs, as long as its external account has cycles."""
HAS_CYCLES = "e.health = 'HEALTHY'"
"""Whether the external account `e` has cycles. Without them there is no new window, and no cap to let anybody in."""
