"""Made-up pictures: a street, and the rain over it."""
