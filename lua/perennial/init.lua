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
  seconds  = host.amount "seconds",              -- save_every = p.seconds(60)

  adamw    = host.table("optimizer", "adamw"),

  constant = host.table("schedule", "constant"),
  cosine   = host.table("schedule", "cosine"),

  evaluate = host.table("evaluate", "evaluate"), -- p.evaluate { sets = {"..."}, recall = {1, 5, 10} }

  strategy = host.strategy,                      -- p.strategy "name" { ... }: when a name is no Lua word
  backend  = host.backend,                       -- p.backend "cpu" { ... }
}

return setmetatable(p, { __index = host.index })
