"""Choose the model: a pure function of the request and the state that it looks at."""
