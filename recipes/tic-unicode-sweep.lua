-- The learning rate of three strategies, each chosen for itself on held-out characters: 3 rates x 3 seeds, at a small budget.
--
--   perennial data build unicode --preset full --out data/tic-unicode
--   perennial plan recipes/tic-unicode-sweep.lua               # 9 combinations, 135 stages
--   perennial run recipes/tic-unicode-sweep.lua                # 10 to 15 minutes on two cores
--   perennial results runs/tic-unicode-sweep

local p = require "perennial"

return p.recipe {
  name = "tic-unicode-sweep",
  stream = "data/tic-unicode/coarse.yaml",

  model = "nano",
  batch = 64,
  budget = p.samples(12000),

  optimizer = p.adamw { decay = 0.2 },
  schedule = p.cosine { peak = p.grid { 2e-4, 5e-4, 1.2e-3 }, warmup = 50, later_warmup = 20 },

  strategies = {
    p.sequential {},
    p.cumulative {},
    p.replay {},
  },

  evaluate = { "retrieval-renderings", "retrieval-characters" },
  sweep = p.sweep { criterion = "average", on = "retrieval-characters" }, -- decides, and is not reported

  seed = p.seeds(3),
}
