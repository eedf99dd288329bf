-- For wrk: requests for a coupon by twenty thousand users, to the path behind `--`. They are made before the run, so that what
-- is measured is the server and not this script.
local requests, last = {}, 0

function init(args)
  local headers = { ["content-type"] = "application/json" }
  for number = 1, 20000 do
    local body = string.format('{"userId":"user-%d"}', number)
    requests[number] = wrk.format("POST", args[1], headers, body)
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end
