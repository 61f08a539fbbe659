-- A few steps of ViT-B-32 on the photos of bench/make_photos.py, for bench/stall: how long data keeps a model of real size waiting.

local p = require "perennial"

return p.recipe {
  name = "photos",
  stream = "photos.yaml",
  model = "ViT-B-32",
  batch = 32,
  budget = p.steps(16),
  optimizer = p.adamw { decay = 0.2 },
  schedule = p.constant { peak = 1e-5 },
  strategies = { p.sequential {} },
  seed = 1,
}
