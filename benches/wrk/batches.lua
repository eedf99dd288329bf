-- Bodies of a thousand likes for /api/v6/events, every pair of its own.
local next = 0
request = function()
  local items = {}
  for i = 1, 1000 do
    next = next + 1
    items[i] = '{"type":"like","targetOcid":"t' .. next % 1000 .. '","likerAccountId":"l' .. next .. '","action":"LIKE"}'
  end
  return wrk.format("POST", nil, { ["content-type"] = "application/json" }, "[" .. table.concat(items, ",") .. "]")
end
