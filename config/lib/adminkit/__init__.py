"""What every admin page of ours is made of: cells, sections of an object's page, lists, operations, charts."""
