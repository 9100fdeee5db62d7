-- How much a group has to do, and how many of its workers live.
-- KEYS[1] stream; ARGV[1] group; ARGV[2] before and ARGV[3] after a worker's name in the
-- key of its heartbeat, both absent where workers are not asked for; ARGV[4] longest pause
-- of a live reader in ms; ARGV[5] the most consumers looked at; ARGV[6] the most thousands of
-- keys looked at for heartbeats while the group has no consumer.
-- Returns {depth}, also where workers are not known, or {depth, workers}.
local key, group = KEYS[1], ARGV[1]

local function named(flat)
  local map = {}
  for at = 1, #flat, 2 do map[flat[at]] = flat[at + 1] end
  return map
end

local found
if redis.call('EXISTS', key) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local info = named(flat)
    if info['name'] == group then found = info end
  end
end

-- A group that is not there yet is going to begin with the first entry.
local depth
if not found then
  depth = redis.call('XLEN', key)
else
  local lag = found['lag']
  if not lag then
    -- Redis does not know: an upper bound, and nothing where nothing is unread.
    local after = '(' .. found['last-delivered-id']
    local unread = #redis.call('XRANGE', key, after, '+', 'COUNT', 1) > 0
    lag = unread and redis.call('XLEN', key) or 0
  end
  depth = lag + found['pending']
end

if #ARGV < 6 then return {depth} end

local consumers = found and redis.call('XINFO', 'CONSUMERS', key, group) or {}
local workers = 0
if #consumers > 0 then
  for at = 1, math.min(#consumers, tonumber(ARGV[5])) do
    local consumer = named(consumers[at])
    if consumer['idle'] <= tonumber(ARGV[4])
      or redis.call('EXISTS', ARGV[2] .. consumer['name'] .. ARGV[3]) == 1 then
      workers = workers + 1
    end
  end
else
  -- Redis before 7.2 learns of a consumer with the first entry that it reads, so workers of
  -- a new group have only their heartbeats. Without this nobody would send that first entry.
  local steps, cursor = tonumber(ARGV[6]), '0'
  repeat
    local answer = redis.call('SCAN', cursor, 'MATCH', ARGV[2] .. '*' .. ARGV[3], 'COUNT', 1000)
    cursor, workers, steps = answer[1], workers + #answer[2], steps - 1
  until cursor == '0' or steps == 0
  -- Not all keys were looked at: none among them says nothing.
  if workers == 0 and cursor ~= '0' then return {depth} end
end
return {depth, workers}
