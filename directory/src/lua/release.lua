local shard, incarnation, directory, room, epoch = unpack(ARGV, FIRST, FIRST + 4)
if directory ~= life then return { 'stale', life } end
if grace then
    if call('HLEN', STOPPED) >= BINDINGS_MAX then return { 'refused', 'full' } end
    local before = call('HGET', STOPPED, room)
    if not before or less(before, epoch) then call('HSET', STOPPED, room, epoch) end
end
-- The epoch too: a late release must not free a room that was claimed again since.
local found = record_of(room)
if found and is_of(found, shard, incarnation) and found.epoch == epoch then forget_room(room) end
return { 'released' }
