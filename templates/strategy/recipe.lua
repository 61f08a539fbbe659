-- @NAME@ beside plain continuing, on the quickstart stream, with a budget of a few minutes.
--
--   perennial data build unicode --preset quickstart --out data/tic-unicode-quickstart
--   perennial plan recipe.lua --plugin-path build/plugins
--   perennial run recipe.lua --plugin-path build/plugins
--   perennial results runs/@NAME@

local p = require "perennial"

return p.recipe {
  name = "@NAME@",
  stream = "data/tic-unicode-quickstart/coarse.yaml",

  model = "nano",
  batch = 64,
  budget = p.samples(3200),

  optimizer = p.adamw { decay = 0.2 },
  schedule = p.cosine { peak = 5e-4, warmup = 10, later_warmup = 10 },

  strategies = {
    p.sequential {},
    p.@NAME@ { weight = 1 },
  },

  seed = 1,
}
