local shard, incarnation, directory, seq, knows, epoch, leaving, rooms, replaces =
    unpack(ARGV, FIRST, FIRST + 8)
if directory ~= '' and directory ~= life then return { 'stale', life } end
if has_ended(shard, incarnation) or call('HEXISTS', ORPHANS, incarnation .. ' ' .. shard) == 1 then
    return { 'no_lease' }
end
if replaces ~= '' and replaces ~= incarnation then end_life(shard, replaces, ANYBODY) end

-- Versions count within one directory life, and none is known that was not there yet.
local function known_of(version)
    if directory ~= life then return '0' end
    if less(version, knows) then return version end
    return knows
end

local lease = lease_of(shard)
if lease and lease.incarnation ~= incarnation then return { 'refused', 'other_life' } end
local version = call('HGET', DIR, 'version')
if lease then
    -- It knows what it knows, however late it says so.
    local now_known = known_of(version)
    if less(lease.knows, now_known) then lease.knows = now_known end
    if less(lease.seq, seq) then
        lease.seq, lease.rooms = seq, rooms
        if lease.leaving ~= leaving then
            lease.leaving = leaving
            new_version()
        end
    end
    put_lease(shard, lease)
else
    local count = call('HLEN', LEASES)
    if count >= SHARDS_MAX then return { 'refused', 'shards', tostring(count) } end
    new_version()
    version = call('HGET', DIR, 'version')
    put_lease(shard, {
        incarnation = incarnation, seq = seq, born = version, knows = known_of(version),
        leaving = leaving, rooms = rooms,
    })
end
version = call('HGET', DIR, 'version')
-- In grace this is before the first claim: no epoch of a life before comes again.
raise_epoch(epoch)

local listed = call('HGET', TOPOLOGY, shard)
local drain = call('HGET', DRAINS, shard)
if not drain and listed and string.sub(listed, 1, 1) == 'd' then drain = '-' end
-- Nobody waits for a shard that the topology does not name: it must not go on without a lease.
local hold = HOLD_MS
if not listed then hold = '0' end
local reply = {
    'leased', life, hold, tostring(call('HLEN', TOPOLOGY)),
    call('HGET', DIR, 'generation') or '0', call('HGET', DIR, 'epoch'), grace and '1' or '0', drain,
}
if known_of(version) == version then return reply end

-- All shards with a lease, except the asking one.
local lives, all = {}, call('HGETALL', LEASES)
for i = 1, #all, 2 do
    if all[i] ~= shard then
        local entry = call('HGET', TOPOLOGY, all[i])
        local weight, url = '0', ''
        if entry then weight, url = string.match(entry, '^%a (%d+) (.*)$') end
        lives[#lives + 1] = {
            all[i], string.match(all[i + 1], '^%d+'), url, weight, accepts(all[i]) and '1' or '0',
        }
    end
end
reply[9], reply[10] = version, lives
return reply
