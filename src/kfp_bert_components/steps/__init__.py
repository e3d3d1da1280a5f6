"""One use case a component: the only place that knows domain, registry and page together."""
