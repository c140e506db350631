local directory, shard, incarnation = unpack(ARGV, FIRST, FIRST + 2)
if directory ~= life then return { 'stale', life } end
if call('HDEL', ORPHANS, incarnation .. ' ' .. shard) == 0 then return { 'done' } end
-- From here on its rooms are nobody's; their records go page by page.
local lease = lease_of(shard)
if not lease or lease.incarnation ~= incarnation then
    sweep('0')
    return { 'done' }
end
-- So many shards have ended since that its end was forgotten, and it has a lease again: its records do
-- not look abandoned.
local all = call('HGETALL', ROOMS)
for i = 1, #all, 2 do
    if is_of(record_of(all[i]), shard, incarnation) then forget_room(all[i]) end
end
return { 'done' }
