-- wrk: expectation writes over a million characters and three presets, each writer thread with its own sequence
local number = 0
local thread = 0

function setup(t)
  t:set("thread", thread)
  thread = thread + 1
end

function init()
  math.randomseed(os.time() + thread * 7919)
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
end

function request()
  number = number + 1
  local body = string.format(
    '{"characterId":%d,"presetNo":%d,"totalExpectedCost":"1234567.89","blackCubeCost":"1000000.00",'
      .. '"redCubeCost":"200000.50","additionalCubeCost":"30000.25","starforceCost":"4567.14",'
      .. '"calculatedAt":"2026-01-01T00:00:00.123456Z"}',
    math.random(1, 1000000), number % 3 + 1)
  return wrk.format(nil, "/api/v6/expectations", nil, body)
end
