-- Every strategy on the coarse TiC-Unicode stream, at the same budget a time step: the table of docs/results.md.
--
--   perennial data build unicode --preset full --out data/tic-unicode
--   perennial run recipes/tic-unicode.lua                      # about an hour on two cores
--   perennial results runs/tic-unicode

local p = require "perennial"

return p.recipe {
  name = "tic-unicode",
  stream = "data/tic-unicode/coarse.yaml",

  model = "nano",
  batch = 64,
  budget = p.samples(48000),

  optimizer = p.adamw { decay = 0.2 },
  schedule = p.cosine { peak = 5e-4, warmup = 100, later_warmup = 20 },

  strategies = {
    p.sequential {},                                             -- new data only
    p.restart {},                                                -- random weights, all data so far, the same budget
    p.cumulative {},                                             -- all data so far
    p.replay { label = "replay-equal" },                         -- new data and a buffer as large as the step before
    p.replay { label = "replay-exp", rule = "exp" },
    p.replay { label = "replay-half", mix = 0.5 },               -- half of each batch from the buffer
    p.lwf { weight = 1, temperature = 2 },
    p.ewc { weight = 1000 },
    p.patching { a = 0.5 },
    p.patching { label = "patching-chosen", grid = { 0.2, 0.4, 0.6, 0.8 }, validation = "retrieval-characters" },
    p.merge { label = "ema", method = "ema", decay = 0.5 },
    p.merge { label = "ties", method = "ties", density = 0.2, scale = 1 },
    p.agem { memory_batch = 32 },
    p.zscl { memory_batch = 32 },
    p.oracle {},                                                 -- t times the cost at step t
  },

  seed = 1,
}
