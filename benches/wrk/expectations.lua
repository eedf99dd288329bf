-- For wrk: expectation writes over a million characters, each a new event, to the path behind `--` if there is one, with the
-- key behind that (none if it is empty), of as many clients behind a proxy as the last says.
-- They are made before the run, so that what is measured is the server and not this script.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

local requests, last = {}, 0

function init(args)
  math.randomseed(seed)
  local path = args[1] or "/api/v6/expectations"
  local headers = { ["content-type"] = "application/json", authorization = #(args[2] or "") > 0 and "Bearer " .. args[2] or nil }
  local clients = tonumber(args[3] or "0")
  for number = 1, 20000 do
    if clients > 0 then
      headers["x-forwarded-for"] = string.format("10.0.%d.%d", number % clients / 250, number % clients % 250)
    end
    local body = string.format(
      '{"characterId":%d,"presetNo":%d,"totalExpectedCost":"1234567.89","blackCubeCost":"1000000.00",'
        .. '"redCubeCost":"200000.50","additionalCubeCost":"30000.25","starforceCost":"4567.14",'
        .. '"calculatedAt":"2026-01-01T00:00:00.123456Z"}',
      math.random(1000000), number % 3 + 1)
    requests[number] = wrk.format("POST", path, headers, body)
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end
