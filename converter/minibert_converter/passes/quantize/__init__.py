"""Float32 weights to int8 or four bits: calibration, centring, migration of outliers, error-compensated rounding."""
