local shard, incarnation, directory, room, knows = unpack(ARGV, FIRST, FIRST + 4)
if directory ~= life then return { 'stale', life } end
local mine = lease_of(shard)
if not mine or mine.incarnation ~= incarnation then return { 'no_lease' } end

-- a before b, byte by byte: `<` would follow the server's language.
local function precedes(a, b)
    for i = 1, math.min(#a, #b) do
        local x, y = string.byte(a, i), string.byte(b, i)
        if x ~= y then return x < y end
    end
    return #a < #b
end

-- Why the shard may not take the room of somebody else; nil if it may.
local function objection(found)
    if not found.heirs then return { 'owned', found.shard, found.epoch } end
    if found.heirs == ANYBODY or shard == found.shard then return nil end
    local up_to, since = string.match(found.heirs, '^(%d+) (%d+)$')
    if not less(up_to, mine.born) then
        -- A late claim: its sender may have promised to leave the room alone after it asked for it.
        if less(knows, since) then return { 'held', found.shard } end
        return nil
    end
    -- One that may is named, so that the gateway's one redirect gets there.
    if lease_of(found.shard) and accepts(found.shard) then
        return { 'owned', found.shard, found.epoch }
    end
    local heir, all = nil, call('HGETALL', LEASES)
    for i = 1, #all, 2 do
        local born = string.match(all[i + 1], '^%d+ %d+ (%d+)')
        if not less(up_to, born) and (not heir or precedes(all[i], heir)) and accepts(all[i])
        then
            heir = all[i]
        end
    end
    if heir then return { 'owned', heir, found.epoch } end
    return { 'held', found.shard }
end

local found = room_of(room)
if found then
    if not is_of(found, shard, incarnation) then
        local reply = objection(found)
        if reply then return reply end
    elseif not grace then
        -- Written again: then to wait for replicas is to wait for this.
        bind(room, incarnation, found.epoch, found.from, shard)
        return { 'mine', found.epoch, found.from, call('HGET', OPTIONS, room) }
    end
end
if not accepts(shard) then return { 'draining' } end
-- Not even the holder's own: only a room that is held now counts, and that one is re-asserted.
if grace then return { 'grace' } end
if not found and call('HLEN', ROOMS) >= BINDINGS_MAX then return { 'refused', 'full' } end
local epoch = next_epoch()
if not epoch then return { 'refused', 'epochs' } end
bind(room, incarnation, epoch, '-', shard)
return { 'granted', epoch, call('HGET', OPTIONS, room) }
