-- TiC-DataComp, large, with the settings published with TiC-CLIP (Garg et al., ICLR 2024). Planning works without the data:
--
--   perennial plan recipes/tic-datacomp-large.lua
--
-- Running needs the shards that recipes/streams/tic-datacomp-large.yaml speaks of.

local p = require "perennial"

return p.recipe {
  name = "tic-datacomp-large",
  stream = "streams/tic-datacomp-large.yaml",  -- seven steps: 2014-2016, 2017 ... 2022 (the paper, section 2)

  model = "ViT-B-16",            -- DataComp's scales medium and up train it; the TiC-CLIP README says so for all of its scales
  batch = 8192,
  budget = p.steps(22500),          -- C: 8,192 x 22,500 samples a time step (the paper, table of scales)

  optimizer = p.adamw {               -- open_clip's defaults, as DataComp uses them
    decay = 0.2,
    beta1 = 0.9, beta2 = 0.98, epsilon = 1e-6,
  },
  schedule = p.cosine {
    peak = 5e-4,
    warmup = 500,                   -- in the first step, and where training starts from random weights
    later_warmup = 0,               -- in later steps
  },

  strategies = {
    p.sequential {},
    p.cumulative {},                  -- "cumulative-all": every sample so far
    p.cumulative { label = "cumulative-rising", budget_multiples = { 1, 1, 1, 1, 1.5, 2, 3 } },
    p.replay { label = "cumulative-equal", rule = "equal" },
    p.replay { label = "cumulative-exp", rule = "exp" },
    p.restart {},
    p.lwf {},
    p.patching { a = 0.5 },
    p.oracle {},                      -- t times the budget at step t: 28 C in all
  },

  transform = "train",                 -- random resized crops of 0.9 to 1.0 of the area: open_clip's
  seed = 0,
}
