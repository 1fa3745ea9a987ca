"""What every Enginehouse server in Python needs: bootstrap, grants, usage, errors, telemetry."""
