-- Keeps a stream: the group is there, what every group has acknowledged is trimmed, what a
-- worker took and never acknowledged is queued again.
-- KEYS[1] stream; ARGV: 1 group; 2 ms without acknowledgement that make a task stale;
-- 3 entries and 4 bytes queued again in one round, about; 5 times that one task is queued
-- again; 6 groups that trimming looks at.
-- Returns {requeued, malformed, abandoned, trimmed, more, last id that was dropped}.
local key, group = KEYS[1], ARGV[1]
local entries_max, bytes_max = tonumber(ARGV[3]), tonumber(ARGV[4])
local requeues_max, groups_max = tonumber(ARGV[5]), tonumber(ARGV[6])
-- Those of the protocol are six with the count.
local FIELDS_MAX = 64

local function named(flat)
  local map = {}
  for at = 1, #flat, 2 do map[flat[at]] = flat[at + 1] end
  return map
end

-- Decimal numbers of up to 20 digits, more than Lua's own can tell apart.
local function below(one, other)
  if #one ~= #other then return #one < #other end
  return one < other
end

local function earlier(one, other)
  local one_ms, one_seq = one:match('^(%d+)-(%d+)$')
  local other_ms, other_seq = other:match('^(%d+)-(%d+)$')
  if one_ms ~= other_ms then return below(one_ms, other_ms) end
  return below(one_seq, other_seq)
end

local groups, there = {}, false
if redis.call('EXISTS', key) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local info = named(flat)
    groups[#groups + 1] = info
    there = there or info['name'] == group
  end
end
if not there then
  redis.call('XGROUP', 'CREATE', key, group, '0', 'MKSTREAM')
  return {0, 0, 0, 0, 0, ''}
end

-- Trimming comes first: it frees the memory that queueing again may lack. The first entry
-- that any group may still want stays, and all after it.
local trimmed = 0
if #groups <= groups_max then
  local wanted
  for _, info in ipairs(groups) do
    local first = info['last-delivered-id']
    if info['pending'] > 0 then
      local pending = redis.call('XPENDING', key, info['name'])[2]
      if pending and earlier(pending, first) then first = pending end
    end
    if not wanted or earlier(first, wanted) then wanted = first end
  end
  trimmed = redis.call('XTRIM', key, 'MINID', '~', wanted)
end

local requeued, malformed, abandoned, bytes, last, seen = 0, 0, 0, 0, '', 0
local stale = redis.call('XPENDING', key, group, 'IDLE', ARGV[2], '-', '+', entries_max)
for _, pending in ipairs(stale) do
  if bytes >= bytes_max then break end
  seen = seen + 1
  local id = pending[1]
  local entry = redis.call('XRANGE', key, id, id)[1]
  -- An entry that somebody deleted has no fields.
  local flat = entry and entry[2] or {}
  local fields = #flat <= 2 * FIELDS_MAX and named(flat) or {}
  local task, payload = fields['task_id'], fields['payload']
  local times = (tonumber(fields['requeued']) or 0) + 1
  if not task or task == '' or not payload or payload == '' then
    malformed, last = malformed + 1, id
  elseif times > requeues_max then
    abandoned, last = abandoned + 1, id
  else
    local copy = {}
    for at = 1, #flat, 2 do
      if flat[at] ~= 'requeued' then
        copy[#copy + 1] = flat[at]
        copy[#copy + 1] = flat[at + 1]
      end
    end
    redis.call('XADD', key, '*', 'requeued', times, unpack(copy))
    requeued, bytes = requeued + 1, bytes + #payload
  end
  redis.call('XACK', key, group, id)
end
local more = (seen < #stale or seen == entries_max) and 1 or 0
return {requeued, malformed, abandoned, trimmed, more, last}
