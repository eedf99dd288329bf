-- For wrk: bodies of many likes for /api/v6/events, as many as stands behind `--` or a thousand. They are made before the
-- run, a hundred thousand likes in all.
local requests, last = {}, 0

function init(args)
  local size, next = tonumber(args[1] or 1000), 0
  for number = 1, 100000 / size do
    local items = {}
    for i = 1, size do
      next = next + 1
      items[i] = '{"type":"like","targetOcid":"target-' .. next % 1000 .. '","likerAccountId":"liker-' .. next
        .. '","action":"LIKE"}'
    end
    local body = "[" .. table.concat(items, ",") .. "]"
    requests[number] = wrk.format("POST", "/api/v6/events", { ["content-type"] = "application/json" }, body)
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end
