"""The API's bounded way to Temporal."""
