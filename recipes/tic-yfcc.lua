-- TiC-YFCC: 4 time steps. The published code has the splits and no training settings for this stream: model, batch, learning rate and
-- budget below are those of the TiC-DataComp scale nearest to it (medium), and are ours to change.
--
--   perennial plan recipes/tic-yfcc.lua          # works without the data
--
-- Running needs the shards that recipes/streams/tic-yfcc.yaml speaks of.

local p = require "perennial"

return p.recipe {
  name = "tic-yfcc",
  stream = "streams/tic-yfcc.yaml",

  model = "ViT-B-16",
  batch = 4096,
  budget = p.steps(4500),

  optimizer = p.adamw { decay = 0.2, beta1 = 0.9, beta2 = 0.98, epsilon = 1e-6 },
  schedule = p.cosine { peak = 5e-4, warmup = 500 },

  strategies = {
    p.sequential {},
    p.cumulative {},
    p.replay { label = "cumulative-equal", rule = "equal" },
    p.replay { label = "cumulative-exp", rule = "exp" },
    p.lwf {},
    p.patching { a = 0.5 },
    p.oracle {},
  },
}
