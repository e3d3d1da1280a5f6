"""What the components do, one use case a component: here domain, registry and pages come together."""
