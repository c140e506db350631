-- Arguments: shard, then nothing (it takes rooms again), "-", or the deadline.
local shard, drain = ARGV[FIRST], ARGV[FIRST + 1]
if call('HEXISTS', TOPOLOGY, shard) == 0 then return { 'refused', 'no_shard' } end
local before = call('HGET', DRAINS, shard)
if drain ~= '' then
    call('HSET', DRAINS, shard, drain)
else
    call('HDEL', DRAINS, shard)
end
if (before or '') ~= drain then new_version() end
return { 'done' }
