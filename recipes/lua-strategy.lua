-- A strategy of one's own, written here in Lua, beside two that come with perennial. docs/strategies.md walks through it.
--
--   perennial data build unicode --preset quickstart --out data/tic-unicode-quickstart
--   perennial plan recipes/lua-strategy.lua
--   perennial run recipes/lua-strategy.lua --set strategies.steady.weight=0.5

local p = require "perennial"

-- Go on from the step before, on the new data and a little of each older step; stay close to what the model of the step before says; and
-- deploy a mixture of the old weights and the new.
local steady = p.strategy {
  label = "steady",
  options = { weight = 1, temperature = 2, replay = 0.2, keep = 0.25 },

  plan = function(step, line, options)
    if step == 1 then
      return { start_step = 0, sources = { 1 }, hooks = {} }
    end
    local sources = { { time_step = step, weight = 1 - options.replay } }
    for k = 1, step - 1 do
      table.insert(sources, { time_step = k, weight = options.replay / (step - 1) })
    end
    return { start_step = step - 1, sources = sources, teacher = step - 1 }
  end,

  loss = function(c, stage, options)
    local distance = c:soft_cross_entropy(c.logits, c.teacher_logits, { alpha = options.temperature })
    c:add(distance, options.weight)
  end,

  finish = function(stage, options)
    local before = stage:load_weights(stage.time_step - 1)
    stage.weights:axpby(1 - options.keep, stage.weights, options.keep, before)
    stage:note("keep", options.keep)
  end,
}

return p.recipe {
  name = "lua-strategy",
  stream = "data/tic-unicode-quickstart/coarse.yaml",

  model = "nano",
  batch = 64,
  budget = p.samples(16000),

  schedule = p.cosine { peak = 5e-4, warmup = 20, later_warmup = 20 },

  strategies = { p.sequential {}, p.lwf {}, steady },

  seed = 1,
}
