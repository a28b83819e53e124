"""Model calls: the activity, the providers of models, and structured output."""
