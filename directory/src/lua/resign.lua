local shard, incarnation, directory = unpack(ARGV, FIRST, FIRST + 2)
if directory ~= life then return { 'stale', life } end
end_life(shard, incarnation, ANYBODY)
return { 'released' }
