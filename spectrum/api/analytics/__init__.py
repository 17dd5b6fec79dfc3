"""Analytics in the API's process: records on their way into the store, and questions to it."""
