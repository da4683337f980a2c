"""The playground: a local page that asks one question of a model with and without its edits."""
