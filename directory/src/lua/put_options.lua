local shard, incarnation, directory, room, epoch, options, length_max =
    unpack(ARGV, FIRST, FIRST + 6)
if directory ~= life then return { 'stale', life } end
local mine = lease_of(shard)
if not mine or mine.incarnation ~= incarnation then return { 'no_lease' } end
if #options > tonumber(length_max) then return { 'refused', 'options', tostring(#options) } end
local found = record_of(room)
if not found or not is_of(found, shard, incarnation) or found.epoch ~= epoch then
    return { 'released' }
end
call('HSET', OPTIONS, room, options)
return { 'done' }
