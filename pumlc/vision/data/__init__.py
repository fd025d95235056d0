"""Pictures and labels: readers, hiding, splitting, transforms, loaders."""
