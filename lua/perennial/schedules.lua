-- perennial.schedules: learning-rate schedules as plain functions of (step, total, time_step, fresh), to build one's own from.
--
--   local schedules = require "perennial.schedules"
--   local base = schedules.linear { peak = 1e-3, warmup = 50 }
--   schedule = function(step, total, time_step, fresh)
--     return base(step, total, time_step, fresh) / time_step
--   end
--
-- `step` counts from 0, `total` is the number of updates of the stage, `time_step` counts from 1, `fresh` is true for stages that
-- start from random weights or `init`. p.linear, p.inverse_sqrt and p.warmup_stable_decay are the same by name.

local schedules = {}

local function options(given, defaults, name)
  if type(given) ~= "table" then
    error("schedules." .. name .. " takes one table", 3)
  end
  for key in pairs(given) do
    if defaults[key] == nil then
      error("schedules." .. name .. " has no key '" .. tostring(key) .. "'", 3)
    end
  end
  local merged = {}
  for key, default in pairs(defaults) do
    local value = given[key]
    if value == nil then value = default end
    if type(value) ~= type(default) then
      error("schedules." .. name .. ": '" .. key .. "' must be a " .. type(default), 3)
    end
    merged[key] = value
  end
  if not (merged.peak > 0) then
    error("schedules." .. name .. ": give a `peak` above 0", 3)
  end
  return merged
end

-- Warm-up as everywhere: linear, reaching the peak at update `warmup`; `later_warmup` when a stage goes on from earlier weights.
local function warmed(o, fresh)
  if fresh then return o.warmup end
  return o.later_warmup
end

-- From the peak to `final` in a straight line.
function schedules.linear(given)
  local o = options(given, { peak = 0, final = 0, warmup = 0, later_warmup = 0 }, "linear")
  return function(step, total, _, fresh)
    local w = warmed(o, fresh)
    if step < w then return o.peak * (step + 1) / w end
    return o.final + (o.peak - o.final) * (1 - (step - w) / math.max(total - w, 1))
  end
end

-- peak * sqrt(offset / (offset + step)), after the warm-up.
function schedules.inverse_sqrt(given)
  local o = options(given, { peak = 0, offset = 1000, warmup = 0, later_warmup = 0 }, "inverse_sqrt")
  return function(step, _, _, fresh)
    local w = warmed(o, fresh)
    if step < w then return o.peak * (step + 1) / w end
    return o.peak * math.sqrt(o.offset / (o.offset + step - w))
  end
end

-- Warm-up, stable, decay: the last `decay` share of the updates falls to `final`, in a straight line or as 1-sqrt.
function schedules.warmup_stable_decay(given)
  local o = options(given, { peak = 0, final = 0, warmup = 0, later_warmup = 0, decay = 0.2, shape = "linear" }, "warmup_stable_decay")
  if o.shape ~= "linear" and o.shape ~= "1-sqrt" then
    error("schedules.warmup_stable_decay: `shape` is \"linear\" or \"1-sqrt\"", 2)
  end
  return function(step, total, _, fresh)
    local w = warmed(o, fresh)
    if step < w then return o.peak * (step + 1) / w end
    local start = total - math.floor(total * o.decay)
    if step < start then return o.peak end
    local progress = (step - start) / math.max(total - start, 1)
    local left = o.shape == "1-sqrt" and 1 - math.sqrt(progress) or 1 - progress
    return o.final + (o.peak - o.final) * left
  end
end

return schedules
