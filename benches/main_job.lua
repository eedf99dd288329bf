-- For wrk: expectation writes with varying keys, each a new event.
local headers = { ["content-type"] = "application/json" }
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

function init(args)
  math.randomseed(seed)
end

function request()
  local cost = math.random(100000000)
  local body = string.format(
    '{"characterId":%d,"presetNo":%d,"totalExpectedCost":"%d.50","blackCubeCost":"%d","redCubeCost":"1.25",'
      .. '"additionalCubeCost":"0","starforceCost":"%d","calculatedAt":"2026-01-02T03:04:05.000006Z","version":%d}',
    math.random(100000), math.random(3), cost, cost, cost, math.random(1000000))
  return wrk.format("POST", "/api/v6/expectations", headers, body)
end
