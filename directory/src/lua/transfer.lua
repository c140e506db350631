local shard, incarnation, directory, room, epoch, to, to_incarnation =
    unpack(ARGV, FIRST, FIRST + 6)
if directory ~= life then return { 'stale', life } end
local mine = lease_of(shard)
if not mine or mine.incarnation ~= incarnation then return { 'no_lease' } end
local found = room_of(room)
if found and found.from == epoch and is_of(found, to, to_incarnation) then
    return { 'transferred', found.epoch }
end
local is_bound = found and is_of(found, shard, incarnation) and found.epoch == epoch
if not is_bound or to == shard then return { 'released' } end
if grace then return { 'grace' } end
local heir = lease_of(to)
if not heir or heir.incarnation ~= to_incarnation or not accepts(to) then return { 'draining' } end
local next = next_epoch()
if not next then return { 'refused', 'epochs' } end
bind(room, to_incarnation, next, epoch, to)
return { 'transferred', next }
