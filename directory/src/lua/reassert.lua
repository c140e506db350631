local shard, incarnation, directory, room, epoch = unpack(ARGV, FIRST, FIRST + 4)
if directory ~= life then return { 'stale', life } end
local mine = lease_of(shard)
if not mine or mine.incarnation ~= incarnation then return { 'no_lease' } end
local found = room_of(room)
if found then
    if is_of(found, shard, incarnation) and found.epoch == epoch then return { 'reasserted' } end
    -- Also for an equal or higher epoch: a binding is never replaced by a re-assertion.
    return { 'owned', found.shard, found.epoch }
end
-- After grace the sender's old deadline is over: another shard may have had the room since.
local stopped = call('HGET', STOPPED, room)
if not grace or (stopped and not less(stopped, epoch)) then return { 'released' } end
if call('HLEN', ROOMS) >= BINDINGS_MAX then return { 'refused', 'full' } end
raise_epoch(epoch)
bind(room, incarnation, epoch, '-', shard)
return { 'reasserted' }
