-- The ownership directory in Redis: `affinity::directory::DirectoryState` in Lua. This text precedes each
-- request's own (one file a request); together they are one atomic script.
--
-- Keys, all with the hash tag {prefix} (one slot of a cluster), none with an expiry:
--   dir       hash    life      the directory's incarnation
--                     server    run_id and master_replid of the server that began this life
--                     grace     1 during grace, else 0
--                     epoch     highest epoch issued, re-asserted, or remembered by a shard
--                     version   of what shards see of each other
--                     generation of the topology
--                     ended     counts ended lives, to forget the oldest
--                     sweep     where the search for rooms of forgotten lives stands; absent: none
--   topology  hash    shard -> "a|d weight url"             active or draining
--   drains    hash    shard -> deadline or "-"
--   leases    hash    shard -> "incarnation seq born knows leaving rooms"
--   ended     hash    shard -> "order incarnation incarnation ..."
--   orphans   hash    "incarnation shard" -> "*" (anybody's), or the version up to which heirs were born and
--                     the one that they must know
--   rooms     hash    room  -> "incarnation epoch from shard"; from is "-" unless handed over
--   options   hash    room  -> text
--   stopped   hash    room  -> epoch, during grace
--
-- A new life begins when `dir` is missing or was written by another server process or another history
-- (FLUSHALL, a restart, a fail-over): all but topology and drains may be old, and is dropped.
--
-- Cost: a claim, release, re-assertion, transfer, renewal: a fixed number of steps, O(1). A lookup: O(its
-- rooms). A renewal with news, a look, an announcement, a claim of a held room: O(shards). Forgetting a
-- life is O(rooms), PAGE of them with each look.
--
-- Numbers of 64 bits travel and are compared as decimal text: Lua's numbers are doubles.

if redis.replicate_commands then redis.replicate_commands() end -- before Redis 7: effects, not scripts

local call = redis.call
local DIR, TOPOLOGY, DRAINS, LEASES, ENDED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ORPHANS, ROOMS, OPTIONS, STOPPED = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local HOLD_MS, BINDINGS_MAX, SHARDS_MAX = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
-- A request's own arguments follow.
local FIRST = 7
local ANYBODY = '*'
-- Rooms looked at in one step of a sweep: about a millisecond.
local PAGE = 1000
-- Lives remembered of one shard.
local LIVES_MAX = 16

-- a < b for decimal texts without leading zeros.
local function less(a, b)
    if #a ~= #b then return #a < #b end
    return a < b
end

local replication = call('INFO', 'replication')
if not string.find(replication, 'role:master', 1, true) then
    return redis.error_reply('READONLY this server is a replica')
end
-- 40 digits behind the name; a pattern would take four times as long.
local _, name_ends = string.find(replication, 'master_replid:', 1, true)
local server = ARGV[1] .. ' ' .. string.sub(replication, name_ends + 1, name_ends + 40)
local known = call('HMGET', DIR, 'life', 'server', 'grace')
local life, grace = known[1], known[3] ~= '0'
if not life or known[2] ~= server then
    call('UNLINK', LEASES, ENDED, ORPHANS, ROOMS, OPTIONS, STOPPED)
    local epoch = call('HGET', DIR, 'epoch') or '0'
    if less(epoch, ARGV[3]) then epoch = ARGV[3] end
    life, grace = ARGV[2], true
    call('HSET', DIR, 'life', life, 'server', server, 'grace', '1', 'epoch', epoch, 'version', '0')
    call('HDEL', DIR, 'ended', 'sweep')
end

local function lease_of(shard)
    local text = call('HGET', LEASES, shard)
    if not text then return nil end
    local incarnation, seq, born, knows, leaving, rooms =
        string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d) (%d+)$')
    return {
        incarnation = incarnation, seq = seq, born = born, knows = knows,
        leaving = leaving, rooms = rooms,
    }
end

local function put_lease(shard, lease)
    call('HSET', LEASES, shard, table.concat({
        lease.incarnation, lease.seq, lease.born, lease.knows, lease.leaving, lease.rooms,
    }, ' '))
end

-- A room's record as it is, whatever became of its life.
local function record_of(room)
    local text = call('HGET', ROOMS, room)
    if not text then return nil end
    local incarnation, epoch, from, shard = string.match(text, '^(%d+) (%d+) (%S+) (.*)$')
    return { incarnation = incarnation, epoch = epoch, from = from, shard = shard }
end

local function bind(room, incarnation, epoch, from, shard)
    call('HSET', ROOMS, room, table.concat({ incarnation, epoch, from, shard }, ' '))
end

local function is_of(found, shard, incarnation)
    return found.shard == shard and found.incarnation == incarnation
end

local function forget_room(room)
    call('HDEL', ROOMS, room)
    call('HDEL', OPTIONS, room)
end

-- The room's record, with who may inherit it: nil heirs if its life holds its lease. The record of a life
-- that was forgotten is gone, only not yet swept.
local function room_of(room)
    local found = record_of(room)
    if not found then return nil end
    local lease = lease_of(found.shard)
    if lease and lease.incarnation == found.incarnation then return found end
    found.heirs = call('HGET', ORPHANS, found.incarnation .. ' ' .. found.shard)
    if not found.heirs then
        forget_room(room)
        return nil
    end
    return found
end

-- May the shard get new rooms?
local function accepts(shard)
    local listed = call('HGET', TOPOLOGY, shard)
    if not listed or string.sub(listed, 1, 1) == 'd' then return false end
    if call('HEXISTS', DRAINS, shard) == 1 then return false end
    local lease = lease_of(shard)
    return not (lease and lease.leaving == '1')
end

-- What `new_version` will make it.
local function next_version()
    local before = call('HGET', DIR, 'version')
    call('HINCRBY', DIR, 'version', 1)
    local next = call('HGET', DIR, 'version')
    call('HSET', DIR, 'version', before)
    return next
end

local function new_version()
    call('HINCRBY', DIR, 'version', 1)
end

-- Above this epoch are all that follow.
local function raise_epoch(epoch)
    if less(call('HGET', DIR, 'epoch'), epoch) then call('HSET', DIR, 'epoch', epoch) end
end

-- The next epoch, or nil if they are used up.
local function next_epoch()
    local counted = redis.pcall('HINCRBY', DIR, 'epoch', 1)
    if type(counted) == 'table' then return nil end
    return call('HGET', DIR, 'epoch')
end

local function has_ended(shard, incarnation)
    local lives = call('HGET', ENDED, shard)
    return lives and string.find(lives .. ' ', ' ' .. incarnation .. ' ', 1, true)
end

-- Remembers that the life has ended: it never gets a lease again.
local function put_ended(shard, incarnation)
    if has_ended(shard, incarnation) then return end
    local before = call('HGET', ENDED, shard)
    if not before and call('HLEN', ENDED) >= SHARDS_MAX then
        local all, first, lowest = call('HGETALL', ENDED), nil, nil
        for i = 1, #all, 2 do
            local order = tonumber(string.match(all[i + 1], '^%d+'))
            if not lowest or order < lowest then first, lowest = all[i], order end
        end
        if first then call('HDEL', ENDED, first) end
    end
    local lives = {}
    if before then
        for one in string.gmatch(string.match(before, '^%d+(.*)$'), '%d+') do
            lives[#lives + 1] = one
        end
    end
    if #lives >= LIVES_MAX then table.remove(lives, 1) end
    lives[#lives + 1] = incarnation
    local order = call('HINCRBY', DIR, 'ended', 1)
    call('HSET', ENDED, shard, order .. ' ' .. table.concat(lives, ' '))
end

-- Ends the life's lease, if it has one. A life that ended before and now says that it has stopped its rooms
-- frees them.
local function end_life(shard, incarnation, heirs)
    local lease = lease_of(shard)
    local orphan = incarnation .. ' ' .. shard
    if lease and lease.incarnation == incarnation then
        call('HDEL', LEASES, shard)
        new_version()
        put_ended(shard, incarnation)
        call('HSET', ORPHANS, orphan, heirs)
    elseif heirs == ANYBODY and call('HEXISTS', ORPHANS, orphan) == 1 then
        call('HSET', ORPHANS, orphan, heirs)
    end
end

-- Looks at one page of rooms for those of forgotten lives.
local function sweep(cursor)
    local page, alive = call('HSCAN', ROOMS, cursor, 'COUNT', PAGE), {}
    for i = 1, #page[2], 2 do
        local incarnation, shard = string.match(page[2][i + 1], '^(%d+) %d+ %S+ (.*)$')
        local orphan = incarnation .. ' ' .. shard
        if alive[orphan] == nil then
            local lease = lease_of(shard)
            alive[orphan] = lease and lease.incarnation == incarnation
                or call('HEXISTS', ORPHANS, orphan) == 1
        end
        if not alive[orphan] then forget_room(page[2][i]) end
    end
    if page[1] == '0' then
        call('HDEL', DIR, 'sweep')
    else
        call('HSET', DIR, 'sweep', page[1])
    end
end

-- The request:
