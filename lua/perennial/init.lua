-- perennial: what a recipe is written with.
--
--   local p = require "perennial"
--   return p.recipe { name = "...", stream = "...", ... }
--
-- Every function here only says "this table is a ..." and where it was written; the values are checked when the whole
-- recipe is there. docs/recipes.md lists every key. Strategies are plugins: p.sequential, p.cumulative and whatever
-- else is installed are looked up by name.

local _, host = ...

local p = {
  recipe   = host.table("recipe", "recipe"),

  model    = host.table("model", "model"),       -- p.model { base = "micro", vision = { width = 128 } }

  samples  = host.amount "samples",              -- budget = p.samples(20000)
  steps    = host.amount "steps",                -- budget = p.steps(100); save_every = p.steps(500)
  epochs   = host.amount "epochs",               -- budget = p.epochs(2): of a stage's own data
  macs     = host.amount "macs",                 -- budget = p.macs(3.79e18): forward multiply-accumulates
  seconds  = host.amount "seconds",              -- save_every = p.seconds(60)

  adamw    = host.table("optimizer", "adamw"),

  constant = host.table("schedule", "constant"),
  cosine   = host.table("schedule", "cosine"),
  linear   = host.table("schedule", "linear"),
  inverse_sqrt = host.table("schedule", "inverse_sqrt"),
  warmup_stable_decay   = host.table("schedule", "warmup_stable_decay"),
  autoregressive_cosine = host.table("schedule", "autoregressive_cosine"),
  infinite = host.table("schedule", "infinite"), -- these two have a branch at each time step
  trunk    = host.table("schedule", "trunk"),

  evaluate = host.table("evaluate", "evaluate"), -- p.evaluate { sets = {"..."}, recall = {1, 5, 10} }

  grid     = host.grid,                          -- peak = p.grid { 1e-4, 3e-4 }: the recipe runs once with each value
  seeds    = host.seeds,                         -- seed = p.seeds(3): with seeds 1, 2, 3, and scores are averaged over them
  sweep    = host.table("sweep", "sweep"),       -- sweep = p.sweep { criterion = "backward", on = "..." }

  strategy = host.strategy,                      -- p.strategy "name" { ... }: when a name is no Lua word; p.strategy { label = "...",
                                                 -- plan = function(step, line, options) ... end }: one of the recipe's own
  backend  = host.backend,                       -- p.backend "cpu" { ... }
}

return setmetatable(p, { __index = host.index })
