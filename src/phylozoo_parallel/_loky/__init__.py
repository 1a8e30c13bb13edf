"""All that leans on names that joblib or loky do not export; it knows no map and no chunk."""
