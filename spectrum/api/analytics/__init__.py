"""Analytics in the API's process: the intake of records into the store, and questions to the store."""
