-- Twenty-one time steps, one for each year in which Unicode grew, and buffers so small that their rules matter.
--
--   perennial data build unicode --preset full --out data/tic-unicode
--   perennial run recipes/tic-unicode-yearly.lua
--   perennial results runs/tic-unicode-yearly

local p = require "perennial"

return p.recipe {
  name = "tic-unicode-yearly",
  stream = "data/tic-unicode/yearly.yaml",

  model = "nano",
  batch = 64,
  budget = p.samples(12800),

  optimizer = p.adamw { decay = 0.2 },
  schedule = p.cosine { peak = 5e-4, warmup = 100, later_warmup = 10 },

  strategies = {
    p.sequential {},
    p.cumulative {},
    p.replay { label = "replay-equal", size = 2000, unit = "samples", mix = 0.5 },
    p.replay { label = "replay-exp", size = 2000, unit = "samples", mix = 0.5, rule = "exp", half_life = 2 },
    p.replay { label = "replay-recent", size = 2000, unit = "samples", mix = 0.5, rule = "recent" },
    p.replay { label = "replay-reservoir", size = 2000, unit = "samples", mix = 0.5, rule = "reservoir" },
    p.lwf {},
    p.patching { a = 0.5 },
  },

  seed = 1,
}
