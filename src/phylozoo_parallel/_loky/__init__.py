"""All code that uses names which joblib or loky do not export; it knows no map and no chunk."""
