-- How much a group has to do, and how many of its workers live.
-- KEYS[1] stream; ARGV[1] group; ARGV[2] before and ARGV[3] after a worker's name in the
-- key of its heartbeat, both absent where workers are not asked for; ARGV[4] longest pause
-- of a live reader in ms; ARGV[5] the most consumers, ARGV[6] the most thousands of keys looked
-- at.
-- Returns {depth} or {depth, workers}.
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
  if lag ~= 0 then
    -- Redis may not know, and it may be wrong: 7.0 counts what was read before a rewrite of
    -- its AOF as unread after a restart, for ever. Nothing is unread where nothing stands
    -- behind the last entry read, and no more than there is.
    local after = '(' .. found['last-delivered-id']
    local unread = #redis.call('XRANGE', key, after, '+', 'COUNT', 1) > 0
    local length = redis.call('XLEN', key)
    if not unread then
      lag = 0
    elseif not lag or lag < 0 or lag > length then
      lag = length
    end
  end
  depth = lag + found['pending']
end

if #ARGV < 6 then return {depth} end

local before, after, pause_ms = ARGV[2], ARGV[3], tonumber(ARGV[4])
local workers, judged = 0, {}
if found then
  local consumers = redis.call('XINFO', 'CONSUMERS', key, group)
  for at = 1, math.min(#consumers, tonumber(ARGV[5])) do
    local consumer = named(consumers[at])
    judged[before .. consumer['name'] .. after] = true
    if consumer['idle'] <= pause_ms
      or redis.call('EXISTS', before .. consumer['name'] .. after) == 1 then
      workers = workers + 1
    end
  end
end

-- From 7.2 on a reader is a consumer even before its first task.
if (redis.REDIS_VERSION_NUM or 0) >= 0x00070200 then return {depth, workers} end

-- Before, a reader that never got a task is known by its heartbeat alone. That is believed
-- as long as no task has waited unread for long: then it reads something else.
local first
if depth > 0 then
  local from = found and '(' .. found['last-delivered-id'] or '-'
  first = redis.call('XRANGE', key, from, '+', 'COUNT', 1)[1]
end
if first then
  local now = redis.call('TIME')
  local waited_ms = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(first[1]:match('^%d+'))
  if waited_ms > pause_ms then return {depth, workers} end
end
local cursor, rounds = '0', 0
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', before .. '*' .. after, 'COUNT', 1000)
  cursor, rounds = page[1], rounds + 1
  for _, heartbeat in ipairs(page[2]) do
    if not judged[heartbeat] then workers = workers + 1 end
    judged[heartbeat] = true
  end
until cursor == '0' or rounds >= tonumber(ARGV[6])
-- Not all keys were looked at: none is then not known to be none.
if cursor ~= '0' and workers == 0 then return {depth} end
return {depth, workers}
