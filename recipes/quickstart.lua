-- Three ways to keep a small CLIP up to date over thirty years of Unicode, compared at the same budget for each time step.
--
--   perennial data build unicode --preset quickstart --out data/tic-unicode-quickstart
--   perennial run recipes/quickstart.lua
--   perennial results runs/quickstart

local p = require "perennial"

return p.recipe {
  name = "quickstart",
  stream = "data/tic-unicode-quickstart/coarse.yaml",

  model = "nano",
  batch = 64,
  budget = p.samples(16000),

  optimizer = p.adamw { decay = 0.2 },
  schedule = p.cosine { peak = 5e-4, warmup = 20, later_warmup = 20 },

  strategies = {
    p.sequential {},  -- go on from the last checkpoint, on the new data only
    p.cumulative {},  -- go on from the last checkpoint, on all data so far
    p.oracle {},      -- start again at every step, on all data so far, at t times the cost
  },

  seed = 1,
}
